"""Causal attention: what a layer needs to know of a batch in which some sequences are read from left to right.

(Vaswani et al., "Attention is all you need", 2017: the decoder's.) It is a matter of masks alone, so such sequences and
others share the grids. A GPU's kernel for packed sequences takes all of them alike, so it is not used here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..flow import Batch
from .attention import Layout
from .grids import Grids, Mask, Masks
from .local import placed


def causal(layout: Layout, batch: Batch) -> Layout:
    """The layout under which the tokens that `batch.causal` names see none behind them."""
    if batch.causal is None:
        return layout
    # The last place of its own sequence that each token sees.
    last = torch.where(batch.causal, batch.positions, max(batch.lengths))

    def masks(queries: Grids, vectors: Tensor) -> Masks:
        keys = zip(placed(queries, vectors), layout.tokens.shapes, layout.masks, strict=True)
        return tuple(_until(last_seen, width, mask) for last_seen, (_, width), mask in keys)

    narrowed = replace(layout, masks=masks(layout.tokens, last), varlen=None)
    if layout.reads is None or batch.reads is None:
        return narrowed
    return replace(narrowed, read_masks=masks(layout.reads, last[batch.reads]))


def _until(last_seen: Tensor, width: int, mask: Mask | None) -> Mask:
    """[rows, queries, width] which of the keys at 0 to width - 1 stand at `last_seen` [rows, queries] or before."""
    sees = torch.arange(width, device=last_seen.device) <= last_seen[:, :, None]
    return Mask(sees if mask is None else sees & mask.sees)
