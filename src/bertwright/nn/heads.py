"""The parts of heads that were pretrained with BERT's encoder (Devlin et al., "BERT", 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pooler(nn.Module):
    """A dense layer and tanh over the vector of each sequence's first token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, first: Tensor) -> Tensor:
        """[S, H] -> [S, H]"""
        return torch.tanh(self.dense(first))


class Predictor(nn.Module):
    """Logits over the vocabulary, by the word embeddings themselves; the embeddings stay the encoder's own."""

    def __init__(self, hidden: int, vocab_size: int, eps: float, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.activation = activation

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """[M, H] and the word embeddings [V, H] -> logits [M, V]"""
        return F.linear(self.norm(self.activation(self.dense(hidden))), embedding, self.bias)
