"""One pass of a batch through an encoder, with what transformers' outputs tell of the layers on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...encoders.base import Encoder
from ...flow import Batch
from .padding import Grid, restarting


@dataclass(frozen=True, slots=True)
class Pass:
    """What an encoder made of a batch."""

    hidden: Tensor
    """[R, H] at `batch.reads`, or [N, H]"""
    states: tuple[Tensor, ...] | None = None
    """Where asked for, [B, L, H] before the first layer and behind each, zeros at padding."""
    looks: tuple[Tensor, ...] | None = None
    """Where asked for, [B, h, L, L] of each layer: the weights of attention, none of them dropped; zeros at padding."""


class Given:
    """An encoder whose vectors for a batch are known; for the rest, such as `token_loss`, it is the encoder."""

    def __init__(self, encoder: Encoder, hidden: Tensor) -> None:
        self._encoder = encoder
        self._hidden = hidden

    def __call__(self, batch: Batch) -> Tensor:
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def passed(encoder: Encoder, batch: Batch, grid: Grid, *, states: bool, looks: bool) -> Pass:
    """The batch through the encoder; every token's vector is computed where `states` or `looks` are asked for."""
    if not states and not looks:
        return Pass(encoder(batch))
    batch = replace(batch, reads=None)
    with _watched(encoder, batch, looks) as seen:
        hidden = encoder(batch)
    spread = tuple(map(grid.back, (*seen.inputs, hidden))) if states else None
    return Pass(hidden, spread, tuple(_square(one, grid) for one in seen.looks) if looks else None)


@dataclass(frozen=True, slots=True)
class _Seen:
    inputs: list[Tensor] = field(default_factory=list)
    """[N, H] of each layer"""
    looks: list[Tensor] = field(default_factory=list)
    """[N, h, L] of each layer, where asked for"""


@contextmanager
def _watched(encoder: Encoder, batch: Batch, looks: bool) -> Iterator[_Seen]:
    """Notes what goes into each layer; the encoder may add tokens behind those of the batch, which are cut off."""
    seen = _Seen()
    marks = F.one_hot(restarting(batch), max(batch.lengths)) if looks else torch.empty(0, 0)

    def note(layer: Any, inputs: tuple[Any, ...]) -> None:
        seen.inputs.append(inputs[0][: batch.tokens])
        if looks:
            more = F.pad(marks, (0, 0, 0, len(inputs[0]) - len(marks)))
            seen.looks.append(layer.looks(*inputs[:-1], more)[: batch.tokens])

    handles = [layer.register_forward_pre_hook(note) for layer in encoder.layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _square(looks: Tensor, grid: Grid) -> Tensor:
    """[N, h, longest] by place in a token's own sequence -> [B, h, L, L] by columns"""
    whole = grid.back(looks).transpose(1, 2)
    if grid.places is None:
        return whole
    kept = torch.zeros(grid.rows * grid.width, dtype=torch.bool, device=looks.device)
    kept = kept.index_fill(0, grid.places.to(looks.device), True).view(grid.rows, grid.width)
    # Of each row the columns that are kept, in order: the i-th of them is the place i of its sequence.
    place = (kept.cumsum(1) - 1).clamp(0, whole.shape[-1] - 1)
    index = place[:, None, None].expand(-1, whole.shape[1], grid.width, -1)
    return whole.gather(3, index) * kept[:, None, None]
