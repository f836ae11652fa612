"""What tasks share that sort sequences into classes: a head on the pooled first token, and a confusion matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..flow import Batch, Example, Loss
from ..nn.rounding import in_even_rows
from ..seeds import Draws
from ..sums import occurrences
from .fields import refuse_unlabelled
from .sequences import SequenceTask


class PooledTask(SequenceTask):
    """One of several classes a sequence; a concrete task cuts the examples, makes the head and reports the confusion.

    An example carries its class in `labels`, under the task's name.
    """

    @property
    @abstractmethod
    def number_of_classes(self) -> int: ...

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for an example whose class is not known."""
        refuse_unlabelled(examples, self.name)
        classes = torch.tensor([example.labels[self.name] for example in examples])
        return self.at_firsts(batch, classes)

    def class_weights(self, device: torch.device) -> Tensor | None:
        """[C] how much an example of each class weighs in what is minimised; None: all the same."""
        return None

    def asks(self, batch: Batch) -> Batch:
        return self.at_firsts(batch, torch.zeros_like(batch.firsts))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[S, C]"""
        return {self.name: in_even_rows(head, self.vectors(encoder, batch, batch.labels[self.name].positions))}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Weighted cross-entropy; the measures are that without weights and how often each class [true, said] came."""
        logits = self.logits(encoder, head, batch)[self.name].float()
        true, number = batch.labels[self.name].values, self.number_of_classes
        weights = self.class_weights(logits.device)
        total = F.cross_entropy(logits, true, weights, reduction="sum")
        nats = total.detach() if weights is None else F.cross_entropy(logits.detach(), true, reduction="sum")
        confusion = occurrences(true * number + logits.detach().argmax(-1), number**2).view(number, number)
        return Loss({self.name: total}, {f"{self.name}.loss": nats, f"{self.name}.confusion": confusion})

    def _sums(self, sums: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed loss, and the confusion matrix [true, said]."""
        return sums[f"{self.name}.loss"], sums[f"{self.name}.confusion"].double()
