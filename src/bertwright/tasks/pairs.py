"""What objectives on pairs of segments share: two classes on the pooled output of the first token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..flow import Batch, Document, Example, Loss
from ..seeds import Draws
from ..sums import ratio
from .base import Task

Segments = tuple[np.ndarray, np.ndarray]


class PairHead(nn.Module):
    """BERT's next-sentence head: the pooler, then a linear layer to two classes. [S, H] -> [S, 2]"""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.pooler = encoder.pooler()
        self.output = called(nn.Linear(encoder.config.hidden_size, 2), "cls.seq_relationship")

    def forward(self, firsts: Tensor) -> Tensor:
        return self.output(self.pooler(firsts))


class PairTask(Task):
    """An objective on two segments of text; a concrete one only says how a document is cut into pairs."""

    reads = Document
    hf_class = "NextSentencePrediction"
    cuts = True

    @abstractmethod
    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """First segment, second segment, label 0 or 1."""

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        for first, second, label in self.pairs(item, rng):
            yield item.vocabulary.pair(first, second, **{self.name: label})

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        labels = torch.tensor([example.labels[self.name] for example in examples])
        return batch.labelled(self.name, batch.firsts, labels)

    def head(self, encoder: Encoder) -> nn.Module:
        return PairHead(encoder)

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, batch.firsts, torch.zeros_like(batch.firsts))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[S, 2]"""
        return {self.name: head(encoder(batch)[batch.rows(self.name)])}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        logits = self.logits(encoder, head, batch)[self.name].float()
        labels = batch.labels[self.name].values
        total = F.cross_entropy(logits, labels, reduction="sum")
        correct = (logits.detach().argmax(-1) == labels).sum()
        measures = {"loss": total.detach(), "correct": correct, "labels": torch.bincount(labels, minlength=2)}
        return Loss({self.name: total}, {f"{self.name}.{key}": value for key, value in measures.items()})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a pair, accuracy, and the accuracy of always saying the commoner label."""
        labels = sums[f"{self.name}.labels"]
        return {
            f"{self.name}.loss": ratio(sums[f"{self.name}.loss"], labels.sum()),
            f"{self.name}.accuracy": ratio(sums[f"{self.name}.correct"], labels.sum()),
            f"{self.name}.commonest": ratio(labels.max(), labels.sum()),
        }
