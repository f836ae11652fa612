"""What objectives on pairs of segments share: two classes, and documents cut into pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import RecipeError
from ..flow import Document, Example
from ..sums import ratio
from .pooled import PooledTask

Segments = tuple[np.ndarray, np.ndarray]
_OUTPUT = "cls.seq_relationship"
OBJECTIVE = "pair_objective"
"""What a config calls the objective that the head was trained on."""


class PairTask(PooledTask):
    """An objective on two segments of text; a concrete one only says how a document is cut into pairs."""

    reads = Document
    hf_class = "NextSentencePrediction"
    cuts = True

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        return super().made(config) and getattr(config, OBJECTIVE, "nsp") == cls.__module__.rpartition(".")[2]

    @abstractmethod
    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """First segment, second segment, label 0 or 1."""

    @property
    def number_of_classes(self) -> int:
        return 2

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        for first, second, label in self.pairs(item, rng):
            yield item.vocabulary.pair(first, second, **{self.name: label})

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where it told the same of a pair; a checkpoint that does not say was BERT's."""
        return not name.startswith(_OUTPUT) or getattr(config, OBJECTIVE, "nsp") == self.name

    def config_changes(self) -> dict[str, Any]:
        return {OBJECTIVE: self.name}

    def head(self, encoder: Encoder) -> nn.Module:
        """BERT's next-sentence head."""
        output = called(nn.Linear(encoder.config.hidden_size, 2), _OUTPUT)
        return nn.Sequential(OrderedDict(pooler=encoder.pair_pooler(), output=output))

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a pair, accuracy, and the accuracy of always saying the commoner label."""
        loss, confusion = self._sums(sums)
        return {
            f"{self.name}.loss": ratio(loss, confusion.sum()),
            f"{self.name}.accuracy": ratio(confusion.trace(), confusion.sum()),
            f"{self.name}.commonest": ratio(confusion.sum(1).max(), confusion.sum()),
        }


def check_shares(task: PairTask, *names: str) -> None:
    """Raises RecipeError where a setting of these is no share."""
    for name in names:
        if not 0 <= (share := getattr(task, name)) <= 1:
            raise RecipeError(f"{task.name}.{name} is a share from 0 to 1, not {share}")


def aimed_at(room: int, short: float, rng: np.random.Generator) -> int:
    """How many tokens a pair is to have: `room`, and with the share `short` any number from 2 to that."""
    return int(rng.integers(2, room + 1)) if rng.random() < short else room


def trimmed(segment: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many tokens of the segment: each one too many goes from the one end or the other by chance."""
    excess = max(0, len(segment) - most)
    front = int(rng.binomial(excess, 0.5))
    return segment[front : len(segment) - (excess - front)]


def crossed(one: Segments, other: Segments, *, apart: bool, rng: np.random.Generator) -> Segments:
    """Two segments that belong together, or that are `apart`: of one pair the first and of the other the second.

    Either pair comes first as likely, so what is true of a segment by itself is true as often of those that are apart.
    """
    if rng.random() < 0.5:
        one, other = other, one
    return one[0], (other if apart else one)[1]
