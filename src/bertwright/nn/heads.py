"""The parts of heads that are pretrained with an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cross_entropy import TokenLoss, linear_cross_entropy
from .dropout import Dropout
from .layers import Activation
from .linear import Linear, linear
from .rounding import in_even_rows


class Pooler(nn.Module):
    """BERT's: a dense layer and tanh over the vector of each sequence's first token (Devlin et al., "BERT", 2018)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = Linear(hidden, hidden)

    def forward(self, first: Tensor) -> Tensor:
        """[S, H] -> [S, H]"""
        return torch.tanh(self.dense(first))


class NormPooler(nn.Module):
    """ModernBERT's: a dense layer, an activation and a norm, without biases (Warner et al. 2024)."""

    def __init__(self, hidden: int, eps: float, activation: Activation) -> None:
        super().__init__()
        self.dense = Linear(hidden, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden, eps, bias=False)
        self.activation = activation

    def forward(self, first: Tensor) -> Tensor:
        """[S, H] -> [S, H]"""
        return self.norm(self.activation(self.dense(first)))


class GeluPooler(nn.Module):
    """ELECTRA's before a classifier: dropout, a dense layer and GELU (Clark et al., "ELECTRA", ICLR 2020)."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dense = Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, first: Tensor) -> Tensor:
        """[S, H] -> [S, H]"""
        return F.gelu(self.dense(self.dropout(first)))


class Predictor(nn.Module):
    """Logits over the vocabulary, by the word embeddings themselves; the embeddings stay the encoder's own.

    `width` is that of the word embeddings E, where it is not the hidden size.
    """

    def __init__(
        self,
        hidden: int,
        vocab_size: int,
        eps: float,
        activation: Activation,
        *,
        inner_biases: bool = True,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.dense = Linear(hidden, width or hidden, bias=inner_biases)
        self.norm = nn.LayerNorm(width or hidden, eps, bias=inner_biases)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.activation = activation

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """[M, H] and the word embeddings [V, E] -> logits [M, V]"""
        return linear(self._transformed(hidden), embedding, self.bias)

    def loss(self, hidden: Tensor, embedding: Tensor, targets: Tensor, z_loss: float) -> TokenLoss:
        """The summed cross-entropy of those logits at `targets` [M], without the logits."""
        transformed = in_even_rows(self._transformed, hidden)
        return linear_cross_entropy(transformed, embedding, self.bias, targets, z_loss)

    def _transformed(self, hidden: Tensor) -> Tensor:
        # In the weights' type also under autocast: what z-loss adds to a gradient of bf16 is rounded away.
        return self.norm(self.activation(self.dense(hidden)).to(self.norm.weight.dtype))
