"""From the plan to the model: the labelled micro-batches of a step, or of everything once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import Any

from ..flow import Batch, Example, Vocabulary
from ..seeds import Draws
from .pack import pack, split, windows
from .plan import Plan
from .stages import Stages

Label = Callable[[Batch, list[Example], Draws], Batch]


class Feed:
    """`feed(step)` is the list of micro-batches of that step, each at most `micro_tokens` large.

    How a step is divided into micro-batches changes neither its examples nor what is hidden in them. `gather` puts
    those examples of a step together that must not be divided.
    """

    def __init__(
        self,
        plan: Plan[Any] | Stages[Any],
        label: Label,
        vocabulary: Vocabulary,
        micro_tokens: int,
        gather: Callable[[Iterable[Example]], Iterable[Example]] = iter,
    ) -> None:
        self.plan = plan
        self._label_at: Callable[[int], Label] = lambda step: label
        self._vocabulary = vocabulary
        self._micro_tokens = micro_tokens
        self._gather = gather
        self._draws = Draws(plan.seed, "label")

    def labelled_by(self, label_at: Callable[[int], Label]) -> Feed:
        """The same examples, labelled at each step by what `label_at(step)` says."""
        feed = copy(self)
        feed._label_at = label_at
        return feed

    def __call__(self, step: int) -> list[Batch]:
        groups, label = split(self._gather(self.plan.examples(step)), self._micro_tokens), self._label_at(step)
        return [label(pack(group, self._vocabulary), group, self._draws) for group in groups]


def once(
    examples: Iterable[Example], label: Label, vocabulary: Vocabulary, micro_tokens: int, seed: int
) -> Iterator[Batch]:
    """Every example once, labelled with draws of `seed`: the same masks whenever it is asked for."""
    draws = Draws(seed, "evaluate")
    for group in windows(examples, micro_tokens):
        yield label(pack(group, vocabulary), group, draws)
