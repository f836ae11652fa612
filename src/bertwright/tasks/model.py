"""An encoder with a task's head on it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..encoders.naming import hf_names
from ..flow import Batch, Loss
from ..nn.dropout import Dropout
from .base import Task


class Model(nn.Module):
    """What a run trains: `model(batch)` is the task's `Loss`.

    The head is the task's fresh one; drawing its values or loading them is up to whoever starts the run.
    """

    def __init__(self, encoder: Encoder, task: Task) -> None:
        super().__init__()
        self.encoder = encoder
        self.task = task
        self.head = task.head(encoder)

    def forward(self, batch: Batch) -> Loss:
        return self.task.loss(self.encoder, self.head, self.task.decided(self.head, batch))

    @torch.no_grad()
    def learned(self, sums: Mapping[str, Tensor]) -> None:
        """Lets the task take a step's summed measures into the head's state."""
        self.task.learned(self.head, sums)

    def hf_names(self) -> dict[str, str]:
        """transformers' name of every parameter, by its own name."""
        encoder = hf_names(self.encoder, f"{self.encoder.base_prefix}.")
        names = {f"encoder.{own}": name for own, name in encoder.items()}
        return names | {f"head.{own}": name for own, name in hf_names(self.head).items()}

    def set_dropout(self, probability: float) -> None:
        """Sets the share of values dropped, in the encoder and in the head."""
        self.encoder.set_dropout(probability)
        for module in self.head.modules():
            if isinstance(module, Dropout):
                module.p = probability
