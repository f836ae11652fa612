"""Local attention: what a layer needs to know of a batch in which each token sees only those near it.

(Beltagy et al., "Longformer", 2020.) Short sequences stay in the grids of global attention, under a mask. Where that
would cost a CPU the products of many pairs that are masked, the whole batch is cut into blocks of equal length instead,
whatever sequences they belong to, and the queries of a block meet the keys of the block and of as far as they see
beyond it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..flow import Batch
from .attention import Layout
from .grids import Grids, Mask, Masks, Spans, grids_of

_WORTH_BLOCKS = 2.0
"""Blocks are worth it on a CPU where they have so many times fewer scores: they copy each key several times."""


def windowed(layout: Layout, batch: Batch, reach: int) -> Layout:
    """The layout under which a token sees those of its own sequence that are at most `reach` >= 1 tokens away."""
    if max(batch.lengths) <= reach + 1:
        return layout
    spans = Spans(-(-batch.tokens // reach), reach)
    scores = sum(rows * width**2 for rows, width in layout.tokens.shapes)
    if batch.ids.device.type == "cpu" and scores > _WORTH_BLOCKS * 3 * spans.blocks * reach**2:
        return _in_blocks(batch, spans)
    return _in_grids(layout, batch, reach)


def _in_grids(layout: Layout, batch: Batch, reach: int) -> Layout:
    """The same grids, masked beyond the reach."""

    layout = replace(layout, varlen=layout.varlen and layout.varlen.within(reach))

    def masks(places: list[Tensor], seen: Masks) -> Masks:
        widths = [width for _, width in layout.tokens.shapes]
        return tuple(_near(q, width, mask, reach) for q, width, mask in zip(places, widths, seen, strict=True))

    places = placed(layout.tokens, batch.positions)
    if layout.tokens.fill is None:
        places = [places[0][:1]]  # all rows are alike
    if layout.reads is None or batch.reads is None:
        return replace(layout, masks=masks(places, layout.masks))
    read_places = placed(layout.reads, batch.positions[batch.reads])
    read_masks = masks(read_places, layout.read_masks or layout.masks)
    return replace(layout, masks=masks(places, layout.masks), read_masks=read_masks)


def _near(queries: Tensor, width: int, mask: Mask | None, reach: int) -> Mask | None:
    """[rows, queries, width] which of the keys at 0 to width - 1 are near the `queries` [rows, queries]."""
    if width <= reach + 1:
        return mask
    near = (queries[:, :, None] - torch.arange(width, device=queries.device)).abs() <= reach
    return Mask(_never_blind(near if mask is None else near & mask.sees))


def _in_blocks(batch: Batch, spans: Spans) -> Layout:
    order = np.arange(spans.blocks)

    def queries(vectors: Tensor) -> tuple[Grids, Masks]:
        counts = np.bincount(vectors.numpy() // spans.reach, minlength=spans.blocks)
        shape = (spans.blocks, int(counts.max()))
        even = bool((counts == shape[1]).all())
        grids = Grids((shape,), None, None) if even else grids_of(counts, order, [shape])[0]
        (tokens,) = placed(grids, vectors)
        sequence = batch.sequences_of(tokens)
        first = batch.cu_seqlens[sequence].maximum(tokens - spans.reach)
        last = (batch.cu_seqlens[sequence + 1] - 1).minimum(tokens + spans.reach)
        if batch.causal is not None:
            last = torch.where(batch.causal[tokens], tokens, last)
        keys = spans.tokens(vectors.device)[:, None]
        return grids, (Mask(_never_blind((keys >= first[:, :, None]) & (keys <= last[:, :, None]))),)

    tokens, masks = queries(batch.indices)
    reads, read_masks = (None, None) if batch.reads is None else queries(batch.reads)
    return Layout(tokens, reads, masks, read_masks, spans)


def placed(grids: Grids, vectors: Tensor) -> list[Tensor]:
    """[rows, width] for each grid: what of `vectors` [K] stands in its places."""
    filled = vectors if grids.fill is None else vectors[grids.fill]
    parts = filled.split([rows * width for rows, width in grids.shapes])
    return [part.view(shape) for part, shape in zip(parts, grids.shapes, strict=True)]


def _never_blind(sees: Tensor) -> Tensor:
    """Lets a query see all that would see nothing: no vector is taken from its place, but it must stay finite."""
    return sees | ~sees.any(-1, keepdim=True)
