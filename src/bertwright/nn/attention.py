"""What attention needs of a batch of sequences laid end to end.

Letters: N tokens, S sequences, K vectors of N tokens or of the R that are read, h heads, d width of a head. Outside
attention nothing is padded; within, sequences are laid out in a few padded grids, each of sequences about as long as
each other, for the two products alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..flow import Batch
from .grids import Grids, Mask, Masks, Spans, grids_of
from .products import attended
from .rounding import rounded
from .varlen import Varlen

_WORTH_A_GRID = 2**17
"""Scores in a head that a grid more has to spare a CPU: it costs the time of half as many, and new kernels at first."""
_ROW_SIZES = 4
"""How many sizes a CPU's grids have from one power of two rows to the next: each goes with many widths."""
_WIDTHS = 8
"""A CPU's grids are as wide as multiples of this: short ones come in few sizes, and cost little more."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the attention of every layer needs to know of a batch; computed once a batch."""

    tokens: Grids
    reads: Grids | None
    """The grids of the queries, where they are at `Batch.reads` only."""
    masks: Masks
    """Which keys the queries of all tokens see."""
    read_masks: Masks | None = None
    """The same for the queries of `reads`; None: as for those of all tokens."""
    spans: Spans | None = None
    """Where the keys stand, unless it is where the queries do."""
    varlen: Varlen | None = None
    """What a GPU's own kernel for such batches needs, in place of all the above where it can be used."""

    @property
    def everywhere(self) -> Layout:
        """The same with queries at all tokens."""
        if self.reads is None:
            return self
        return replace(self, reads=None, read_masks=None, varlen=self.varlen and self.varlen.everywhere)

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        """What suits the device that the batch is on."""
        return cls.in_few_grids(batch) if batch.ids.device.type == "cpu" else cls.in_one_grid(batch)

    @classmethod
    def in_few_grids(cls, batch: Batch) -> Layout:
        """For a CPU: grids of sequences of like length, and for the queries only as wide as what is read of them."""
        if min(batch.lengths) == max(batch.lengths):
            tokens = Grids(((len(batch), max(batch.lengths)),), None, None)
            masks: Masks = (None,)
            order = list(range(len(batch)))
        else:
            real = len(batch) - batch.padding
            order = sorted(range(real), key=lambda s: -batch.lengths[s])
            order, shapes = _evened(order, _grouped([batch.lengths[s] for s in order]))
            tokens, masks = grids_of(np.array(batch.lengths[:real]), np.array(order), shapes)
        reads = None if batch.reads is None else _narrow(batch, tokens, np.array(order))
        return cls(tokens, reads, masks)

    @classmethod
    def in_one_grid(cls, batch: Batch) -> Layout:
        """For an accelerator, where launches cost more than padding: as wide for the queries as for the keys.

        It is made there, of what is there: what is copied to it, or asked of it, the host would wait for.
        """
        width = max(batch.lengths)
        shapes = ((len(batch), width),)
        if min(batch.lengths) == width:
            tokens, masks = Grids(shapes, None, None), (None,)
        else:
            counts, within = batch.cu_seqlens.diff(), torch.arange(width, device=batch.ids.device)
            fill = (batch.firsts[:, None] + within.minimum(counts[:, None] - 1)).flatten()
            tokens = Grids(shapes, batch.sequences_of(batch.indices) * width + batch.positions, fill)
            masks = (Mask(within < counts[:, None, None]),)
        reads = None if batch.reads is None else _wide(batch, tokens)
        return cls(tokens, reads, masks, varlen=Varlen.of(batch))


def attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, p: float) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V within each sequence (Vaswani et al., "Attention is all you need", 2017).

    `query` is [N, h, d], or [R, h, d] where the layout has reads; `key` is [N, h, d], `value` [N, h, e]. Returns
    [N, h, e] or [R, h, e]. `p` is the probability of dropping an attention weight: 0 outside training.
    """
    if layout.varlen is not None and layout.varlen.takes(query, p):
        return layout.varlen(query, key, value)
    queries, masks = layout.tokens, layout.masks
    if layout.reads is not None:
        queries, masks = layout.reads, layout.read_masks or masks
    product, keys = attended if query.device.type == "cpu" else _fused, layout.spans or layout.tokens
    return product(query, key, value, queries, keys, masks, p)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, queries: Grids, keys: Grids | Spans, masks: Masks, p: float
) -> Tensor:
    """As `products.attended`, for an accelerator: by torch's kernel, in the one grid that there is."""
    assert isinstance(keys, Grids)
    (mask,) = masks
    allowed = None if mask is None else mask.sees[:, None]
    grids = queries.spread(query), keys.spread(key), keys.spread(value)
    return queries.gather(F.scaled_dot_product_attention(*grids, attn_mask=allowed, dropout_p=p), len(query))


def _grouped(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, width) of each grid for sequences of falling `lengths`."""
    starts = _cut(np.square(lengths), 0)
    return [(end - start, lengths[start]) for start, end in zip(starts, [*starts[1:], len(lengths)], strict=True)]


def _cut(squares: np.ndarray, first: int) -> list[int]:
    """Where grids start among rows of falling width, numbered from `first`: cut where most is spared, and so on."""
    spared = np.arange(len(squares), 0, -1) * (squares[0] - squares)
    best = int(spared.argmax())
    if spared[best] < _WORTH_A_GRID:
        return [first]
    return _cut(squares[:best], first) + _cut(squares[best:], first + best)


def _evened(order: list[int], shapes: Sequence[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Grids of rounded sizes (see `rounding`), and the order of their rows: the last of a grid is repeated."""
    rows, even, first = [], [], 0
    for number, width in shapes:
        here = order[first : first + number]
        first += number
        more = rounded(number, _ROW_SIZES) - number
        rows += here + here[-1:] * more
        even.append((number + more, -(-rounded(width) // _WIDTHS) * _WIDTHS))
    return rows, even


def _narrow(batch: Batch, tokens: Grids, order: np.ndarray) -> Grids:
    """Grids only as wide as the reads of their sequences."""
    assert batch.reads is not None
    counts = np.diff(np.searchsorted(batch.reads.numpy(), batch.cu_seqlens.numpy()))
    ends = np.cumsum([rows for rows, _ in tokens.shapes])
    widths = [int(part.max()) for part in np.split(counts[order], ends[:-1])]
    if tokens.slots is None and (counts == widths[0]).all():
        return Grids(((len(batch), widths[0]),), None, None)
    shapes = [(rows, rounded(max(1, width))) for (rows, _), width in zip(tokens.shapes, widths, strict=True)]
    return grids_of(counts, order, shapes)[0]


def _wide(batch: Batch, tokens: Grids) -> Grids:
    """The tokens' grids: how many reads a sequence has would have to be waited for."""
    assert batch.reads is not None
    slots = batch.reads if tokens.slots is None else tokens.slots[batch.reads]
    fill = torch.zeros(sum(rows * width for rows, width in tokens.shapes), dtype=torch.long, device=slots.device)
    return Grids(tokens.shapes, slots, fill.index_copy(0, slots, torch.arange(len(slots), device=slots.device)))
