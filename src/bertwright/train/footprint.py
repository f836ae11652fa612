"""How much memory a training step takes, from the shapes alone: an estimate, each term by its name.

Letters as in `flow`, and I for the width of the feed-forward layer, h for heads, a for the bytes of a number in a
product: 2 in bf16, 4 in fp32. What a layer keeps for its gradient is counted tensor by tensor from `nn.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..nn.heads import Predictor
from ..nn.layers import PreNormLayer
from ..tasks.model import Model
from .optim import is_hidden

_BETWEEN = 1.2
"""An allocator cannot use all of its memory again: measured were 1.1 to 1.3."""
_BESIDE = 64 << 20
"""Kernels that are built for shapes, and libraries that are loaded late."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward and backward pass: how many tokens, and of how many of them anything is read or predicted."""

    tokens: int
    length: int
    """The longest sequence"""
    read: float
    """The share of tokens that some head reads"""
    labelled: float
    """The share of tokens that are predicted"""
    precision: str
    dropout: float
    device: torch.device

    @property
    def width(self) -> int:
        """Bytes of a number in a product."""
        return 2 if self.precision == "bf16" else 4


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes, by what takes them."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    copies: int
    """Weights in the form that products take: in bf16, or put together."""
    activations: int
    """What layers keep of their tokens until the gradient comes by."""
    scores: int
    """Attention's weights, of all pairs of tokens in a sequence."""
    backward: int
    """Gradients on their way through one layer, and those of the embeddings before they are added."""
    logits: int
    """Scores of all words for each prediction."""

    @property
    def total(self) -> int:
        """All of them at once, as at the height of a step, and what lies between and beside them."""
        return int(_BETWEEN * sum(getattr(self, field.name) for field in fields(self))) + _BESIDE


def footprint(model: Model, one: Pass, *, optimizer: str, average: bool) -> Footprint:
    """What training a model takes; its weights may be on the meta device, which takes nothing."""
    named = list(model.named_parameters())
    trained = [(name, p) for name, p in named if p.requires_grad]
    weights = 4 * sum(p.numel() for _, p in named)
    gradients = 4 * sum(p.numel() for _, p in trained)
    muon = optimizer == "muon"
    matrices = 4 * sum(p.numel() for n, p in trained if is_hidden(n, p)) * muon
    embeddings = model.encoder.word_embeddings.weight
    table = embeddings.numel() if embeddings.requires_grad else 0
    predicts = any(isinstance(module, Predictor) for module in model.modules())
    labelled = int(one.labelled * one.tokens) * predicts
    return Footprint(
        weights=weights,
        gradients=gradients,
        optimizer=2 * gradients - matrices,  # Muon keeps one number for each weight of a matrix, AdamW two.
        average=gradients * average,
        copies=_copies(model, one, predicts),
        activations=_activations(model.encoder, one),
        scores=_scores(model.encoder, one),
        backward=_one_layer(model.encoder, one) + (4 + one.width) * table * predicts,
        logits=labelled * embeddings.shape[0] * one.width,
    )


def _copies(model: Model, one: Pass, predicts: bool) -> int:
    multiplied = sum(p.numel() for layer in model.encoder.layers for p in layer.parameters() if p.ndim == 2)
    table = model.encoder.word_embeddings.weight.numel() if predicts else 0
    if one.precision == "bf16":
        return 2 * (multiplied + table)
    together = sum(p.numel() for layer in model.encoder.layers for p in _stacked(layer))
    return 4 * together


def _stacked(layer: nn.Module) -> list[Tensor]:
    """What is put together anew for each pass: queries, keys and values that are stored apart."""
    parts = [getattr(layer, name, None) for name in ("query", "key", "value")]
    return [part.weight for part in parts if isinstance(part, nn.Linear)]


def _activations(encoder: Encoder, one: Pass) -> int:
    layers = list(encoder.layers)
    if not any(p.requires_grad for p in encoder.parameters()):
        return 0
    whole = one.tokens * sum(_kept(encoder, layer, one) for layer in layers[:-1])
    keys = one.tokens * 4 * encoder.config.hidden_size * one.width
    last = one.tokens * one.read * _kept(encoder, layers[-1], one)
    return int(whole + last + keys + one.tokens * 12 * encoder.config.hidden_size)


def _kept(encoder: Encoder, layer: nn.Module, one: Pass) -> int:
    """Bytes a token that a layer keeps; what norms give is a product's input, which is kept in its own form."""
    hidden, inner, a = encoder.config.hidden_size, encoder.config.intermediate_size, one.width
    norms = 2 * (4 if one.device.type == "cuda" else a) * hidden + 2 * a * hidden
    if isinstance(layer, PreNormLayer):
        # What norms read and give; queries, keys, values, the first two also turned; the context; four inner tensors.
        return norms + a * (3 + 2 + 1) * hidden + 4 * a * inner
    dropped = 2 * a * hidden if one.dropout else 0
    # What norms read and give; queries, keys and values; the context; what the activation is of, and what it gives.
    return norms + a * (3 + 1) * hidden + 2 * a * inner + dropped


def _scores(encoder: Encoder, one: Pass) -> int:
    """None on a GPU, whose kernels keep no scores; elsewhere those of each layer, and once more on the way back."""
    if one.device.type == "cuda":
        return 0
    each = one.tokens * one.length * encoder.config.num_attention_heads * one.width
    layers = len(encoder.layers) - 1 + one.read
    return int(each * ((3 if one.dropout else 1) * layers + 2))


def _one_layer(encoder: Encoder, one: Pass) -> int:
    return one.tokens * (8 * encoder.config.hidden_size + 3 * one.width * encoder.config.intermediate_size)
