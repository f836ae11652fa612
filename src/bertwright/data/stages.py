"""Stages of a run: sequences and batches that grow, as a function of the step alone.

Short sequences are cheap, and teach most of what long ones do: BERT took nine tenths of its steps at 128 tokens (Devlin
et al., NAACL 2019; Li et al., "The stability-efficiency dilemma", NeurIPS 2022, grow the length in many steps). Small
batches waste less while the gradient is large beside its noise (McCandlish et al., "An empirical model of large-batch
training", 2018).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from ..flow import Example
from ..seeds import key_of
from .plan import Cut, Plan

Item = TypeVar("Item")


class Stage(NamedTuple):
    """From the step `first` on, sequences of up to `length` tokens, `batch_size` of them a step."""

    first: int
    length: int
    batch_size: int


def growing(lengths: tuple[int, int], batch_sizes: tuple[int, int], steps: int) -> list[Stage]:
    """The stages in which lengths and batch sizes double, each from its first number to its last, over `steps` steps.

    A batch size is that of the last length; while sequences are shorter there are as many more of them, so that a
    step has about as many tokens.
    """
    length_at, size_at = _doubling(*lengths, steps), _doubling(*batch_sizes, steps)
    stages = []
    for first in sorted({*length_at, *size_at}):
        length = length_at[max(at for at in length_at if at <= first)]
        size = size_at[max(at for at in size_at if at <= first)]
        stages.append(Stage(first, length, size * lengths[1] // length))
    return stages


def _doubling(start: int, end: int, steps: int) -> dict[int, int]:
    """First step -> number, for start, twice start, ..., end; the last begins when `steps` steps are done."""
    numbers = [start]
    while numbers[-1] < end:
        numbers.append(min(2 * numbers[-1], end))
    return {at * steps // max(1, len(numbers) - 1): number for at, number in enumerate(numbers)}


class Stages(Generic[Item]):
    """The examples of every step of a run that goes through stages; in all else as a `Plan`.

    `items(length)` is what examples of a length are cut from. Each length has a plan of its own, which visits the items
    in an order of its own; stages of one length go on where the one before ended. `chunk_items` as for a plan.
    """

    def __init__(
        self,
        items: Callable[[int], Sequence[Item]],
        cut: Cut[Item],
        stages: Sequence[Stage],
        *,
        seed: int,
        chunk_items: int = 8192,
    ) -> None:
        self.seed = seed
        self.batch_size = stages[-1].batch_size
        self._stages = stages
        self._places = _places(stages)
        last = stages[-1].length

        def plan(length: int) -> Plan[Item]:
            own = seed if length == last else key_of(seed, "length", length)
            return Plan(items(length), cut, batch_size=self.batch_size, seed=own, chunk_items=chunk_items)

        self._plans = {stage.length: plan(stage.length) for stage in stages}

    @property
    def examples_per_epoch(self) -> int:
        """How many examples of the last length an epoch has."""
        return self._plans[self._stages[-1].length].examples_per_epoch

    def middles(self, steps: int) -> list[tuple[int, float]]:
        """The step in the middle of each stage, and what share of a run of so many steps the stage is."""
        firsts = [*(stage.first for stage in self._stages), steps]
        return [((begin + end) // 2, (end - begin) / steps) for begin, end in pairwise(firsts)]

    def examples(self, step: int) -> list[Example]:
        """The examples of a step, counted from 0.

        Raises InputError when not one example can be cut from the items.
        """
        at = bisect_right(self._stages, step, key=lambda stage: stage.first) - 1
        first, length, batch_size = self._stages[at]
        return self._plans[length].take(self._places[at] + (step - first) * batch_size, batch_size)


def _places(stages: Sequence[Stage]) -> list[int]:
    """How many examples of its length a stage's first step has before it."""
    places, taken = [], dict.fromkeys((stage.length for stage in stages), 0)
    for stage, following in pairwise(stages):
        places.append(taken[stage.length])
        taken[stage.length] += (following.first - stage.first) * stage.batch_size
    return [*places, taken[stages[-1].length]]
