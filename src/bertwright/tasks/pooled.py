"""What tasks share that sort sequences into classes: a head on the pooled first token, and a confusion matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..errors import InputError
from ..flow import Batch, Example, Loss
from ..nn.rounding import in_even_rows
from ..seeds import Draws
from ..sums import occurrences
from .base import Task


class PooledTask(Task):
    """One of several classes a sequence; a concrete task cuts the examples, makes the head and reports the confusion.

    An example carries its class in `labels`, under the task's name.
    """

    @property
    @abstractmethod
    def number_of_classes(self) -> int: ...

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for an example whose class is not known."""
        if any(self.name not in example.labels for example in examples):
            raise InputError(f"a row without a label cannot be learned from or judged by ({self.name})")
        classes = torch.tensor([example.labels[self.name] for example in examples])
        return batch.labelled(self.name, batch.firsts, classes)

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, batch.firsts, torch.zeros_like(batch.firsts))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[S, C]"""
        return {self.name: in_even_rows(head, encoder(batch)[batch.rows(self.name)])}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy; the measures are the loss and how often each class [true, said] came out."""
        logits = self.logits(encoder, head, batch)[self.name].float()
        true, number = batch.labels[self.name].values, self.number_of_classes
        total = F.cross_entropy(logits, true, reduction="sum")
        confusion = occurrences(true * number + logits.detach().argmax(-1), number**2).view(number, number)
        return Loss({self.name: total}, {f"{self.name}.loss": total.detach(), f"{self.name}.confusion": confusion})

    def _sums(self, sums: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed loss, and the confusion matrix [true, said]."""
        return sums[f"{self.name}.loss"], sums[f"{self.name}.confusion"].double()


def pooled_head(encoder: Encoder, output: nn.Linear, dropout: nn.Module | None = None) -> nn.Sequential:
    """The pooler, dropout where there is some, and `output`: [S, H] -> [S, C]."""
    parts = {"pooler": encoder.pooler(), "dropout": dropout, "output": output}
    return nn.Sequential(OrderedDict((name, part) for name, part in parts.items() if part is not None))
