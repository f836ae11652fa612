"""What tasks share that predict tokens of the vocabulary: masked LM's head, and what it can be asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..flow import Batch, Document
from .base import Task


class TokenTask(Task):
    """Tokens, predicted from the vectors at some positions; a concrete task says which tokens, and at which."""

    reads = Document
    hf_class = "MaskedLM"
    joins_any = True

    def head(self, encoder: Encoder) -> nn.Module:
        return encoder.predictor()

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, batch.indices, torch.zeros_like(batch.ids))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, V] scores of every token at every position that is predicted."""
        return {self.name: encoder.logits(head, encoder(batch)[batch.rows(self.name)])}
