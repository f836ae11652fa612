"""What attention needs of a batch of sequences laid end to end, and the products themselves.

Letters: N tokens, S sequences, K vectors of N tokens or of the R that are read, h heads, d width of a head. Outside
this file nothing is padded; inside, rows of equal length are a view [S, L, h, d], and others are laid out in a few
padded grids, each of sequences about as long as each other, for the two products alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..flow import Batch
from .dropout import dropout
from .rounding import rounded
from .varlen import Varlen

_WORTH_A_GRID = 2**17
"""Scores in a head that a grid more has to spare a CPU: it costs the time of half as many, and new kernels at first."""
_ROW_SIZES = 4
"""How many sizes a CPU's grids have from one power of two rows to the next: each goes with many widths."""


@dataclass(frozen=True, slots=True)
class Grids:
    """Where vectors laid end to end stand in grids of equal rows, one row a sequence, one grid after the other."""

    shapes: tuple[tuple[int, int], ...]
    """(rows, width) of each grid"""
    slots: Tensor | None
    """[K] the place of each vector among those of all grids; None where the vectors fill one grid in order. There may
    be fewer than vectors: those behind are padding, which gets zeros and sends nothing back."""
    fill: Tensor | None
    """[sum of rows x width] the vector in each place: another of the same sequence where there is none."""

    def spread(self, x: Tensor) -> Iterator[Tensor]:
        """[K, h, d] -> a view [rows, h, width, d] for each grid"""
        if self.slots is not None and self.fill is not None:
            x = _Spread.apply(x, self.slots, self.fill)  # type: ignore[assignment]
        parts = x.split([rows * width for rows, width in self.shapes]) if len(self.shapes) > 1 else (x,)
        for part, shape in zip(parts, self.shapes, strict=True):
            yield part.view(*shape, *part.shape[1:]).transpose(1, 2)

    def gather(self, parts: Sequence[Tensor], count: int) -> Tensor:
        """[rows, h, width, d] of each grid -> [K, h, d] for `count` vectors"""
        flat = [part.transpose(1, 2).flatten(0, 1) for part in parts]
        whole = torch.cat(flat) if len(flat) > 1 else flat[0]
        return whole if self.slots is None else _Gather.apply(whole, self.slots, count)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Spans:
    """Where keys stand for queries in blocks of `reach` tokens: one grid, a row a block, a block on either side."""

    blocks: int
    reach: int

    def spread(self, x: Tensor) -> Iterator[Tensor]:
        """[N, h, d] -> a view [blocks, h, 3 reach, d]; zeros before the first token and behind the last"""
        yield _Overlap.apply(x, self.blocks, self.reach)  # type: ignore[misc]

    def tokens(self, device: torch.device) -> Tensor:
        """[blocks, 3 reach] which token stands where, counted on beyond either end"""
        firsts = torch.arange(-1, self.blocks - 1, device=device) * self.reach
        return firsts[:, None] + torch.arange(3 * self.reach, device=device)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the attention of every layer needs to know of a batch; computed once a batch."""

    tokens: Grids
    reads: Grids | None
    """The grids of the queries, where they are at `Batch.reads` only."""
    masks: tuple[Tensor | None, ...]
    """For each grid [rows or 1, queries or 1, keys] True where a query sees a key; None: it sees all of its row."""
    read_masks: tuple[Tensor | None, ...] | None = None
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
            masks: tuple[Tensor | None, ...] = (None,)
            order = list(range(len(batch)))
        else:
            real = len(batch) - batch.padding
            order = sorted(range(real), key=lambda s: -batch.lengths[s])
            order, shapes = _evened(order, _grouped([batch.lengths[s] for s in order]))
            tokens, masks = grids_of(torch.tensor(batch.lengths[:real]), torch.tensor(order), shapes)
        reads = None if batch.reads is None else _narrow(batch, tokens, torch.tensor(order))
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
            masks = (within < counts[:, None, None],)
        reads = None if batch.reads is None else _wide(batch, tokens)
        return cls(tokens, reads, masks, varlen=Varlen.of(batch))


def attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, p: float) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V within each sequence (Vaswani et al., "Attention is all you need", 2017).

    `query` is [N, h, d], or [R, h, d] where the layout has reads; `key` is [N, h, d], `value` [N, h, e]. Returns
    [N, h, e] or [R, h, e]. `p` is the probability of dropping an attention weight: 0 outside training.
    """
    if layout.varlen is not None and layout.varlen.takes(query, p):
        return layout.varlen(query, key, value)
    queries, masks, keys = layout.tokens, layout.masks, layout.spans or layout.tokens
    if layout.reads is not None:
        queries, masks = layout.reads, layout.read_masks or masks
    product = _matmul if query.device.type == "cpu" else _fused
    grids = zip(queries.spread(query), keys.spread(key), keys.spread(value), masks, strict=True)
    return queries.gather([product(q, k, v, mask, p) for q, k, v, mask in grids], len(query))


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float) -> Tensor:
    allowed = None if mask is None else mask[:, None]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=p)


def _matmul(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """Plain products: on a CPU, torch's fused kernel loses more in its backward pass than it gains in memory."""
    rows, heads, width, d = query.shape
    q, k, v = (x.flatten(0, 1) for x in (query, key, value))
    bias = None if mask is None else q.new_zeros(mask.shape).masked_fill_(~mask, float("-inf"))
    if bias is not None and 1 in bias.shape[:2]:
        each = bias if len(bias) == 1 else bias.repeat_interleave(heads, 0)
        scores = torch.baddbmm(each, q, k.transpose(1, 2), alpha=d**-0.5)
    else:
        scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=d**-0.5)
        if bias is not None:
            scores = (scores.view(rows, heads, width, -1) + bias[:, None]).flatten(0, 1)
    # The kernel sums in fp32 whatever the type of the scores; asking for fp32 would store twice as much for nothing.
    return (dropout(scores.softmax(-1), p) @ v).view(rows, heads, width, -1)


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
        even.append((number + more, rounded(width)))
    return rows, even


def grids_of(
    counts: Tensor, order: Tensor, shapes: Sequence[tuple[int, int]]
) -> tuple[Grids, tuple[Tensor | None, ...]]:
    """Grids for `counts[s]` vectors of each sequence s, whose rows come in `order`; and which places are taken.

    A row that is of the same sequence as the one before is there to make up the number.
    """
    firsts = counts.cumsum(0) - counts
    repeated = torch.cat((order.new_ones(1), order.diff())) == 0
    fills, masks, takes, first_row = [], [], [], 0
    for rows, width in shapes:
        which = slice(first_row, first_row + rows)
        here = order[which]
        first_row += rows
        within = torch.arange(width)
        masks.append(within < counts[here, None, None])
        takes.append((masks[-1] & ~repeated[which, None, None]).flatten())
        fills.append((firsts[here, None] + within.minimum((counts[here, None] - 1).clamp(min=0))).flatten())
    fill, taken = torch.cat(fills), torch.cat(takes)
    slots = torch.empty(int(counts.sum()), dtype=torch.long)
    slots[fill[taken]] = taken.nonzero().squeeze(1)
    # A sequence without a vector, behind the last, is filled from before the end.
    fill = fill.clamp(max=len(slots) - 1)
    return Grids(tuple(shapes), slots, fill), tuple(masks)


def _narrow(batch: Batch, tokens: Grids, order: Tensor) -> Grids:
    """Grids only as wide as the reads of their sequences."""
    assert batch.reads is not None
    counts = torch.searchsorted(batch.reads, batch.cu_seqlens).diff()
    widths = [int(x.max()) for x in counts[order].split([rows for rows, _ in tokens.shapes])]
    if tokens.slots is None and bool((counts == widths[0]).all()):
        return Grids(((len(batch), widths[0]),), None, None)
    shapes = [(rows, rounded(max(1, width))) for (rows, _), width in zip(tokens.shapes, widths, strict=True)]
    return grids_of(counts, order, shapes)[0]


def _wide(batch: Batch, tokens: Grids) -> Grids:
    """The tokens' grids: how many reads a sequence has would have to be waited for."""
    assert batch.reads is not None
    slots = batch.reads if tokens.slots is None else tokens.slots[batch.reads]
    fill = torch.zeros(sum(rows * width for rows, width in tokens.shapes), dtype=torch.long, device=slots.device)
    return Grids(tokens.shapes, slots, fill.index_copy(0, slots, torch.arange(len(slots), device=slots.device)))


class _Spread(torch.autograd.Function):
    """Vectors into their places. What stands in the others gets weight 0, hence no gradient to bring back.

    As the functions below without a `setup_context`, for which torch looks at the signature in each call: a twentieth
    of a millisecond.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slots: Tensor, fill: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.count = len(x)
        return x.index_select(0, fill)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return _taken(grads[0], slots, ctx.count), None, None


class _Overlap(torch.autograd.Function):
    """Vectors into blocks, each with its neighbours; torch's own gradient of this takes four times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: int, reach: int) -> Tensor:
        ctx.tokens, ctx.blocks, ctx.reach = len(x), blocks, reach
        padded = F.pad(x, (0, 0, 0, 0, reach, (blocks + 1) * reach - len(x)))
        return padded.unfold(0, 3 * reach, reach).transpose(2, 3)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        blocks, reach = ctx.blocks, ctx.reach
        _, heads, _, d = grads[0].shape
        parts = grads[0].transpose(1, 2).unflatten(1, (3, reach))
        whole = grads[0].new_zeros(blocks + 2, reach, heads, d)
        for at in range(3):
            whole[at : at + blocks] += parts[:, at]
        return whole.flatten(0, 1)[reach : reach + ctx.tokens], None, None


class _Gather(torch.autograd.Function):
    """Vectors back out of their places; each is read once, so their gradients are copied and not added."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slots: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.places = len(x)
        return _taken(x, slots, count)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        whole = grads[0].new_zeros(ctx.places, *grads[0].shape[1:])
        return whole.index_copy_(0, slots, grads[0][: len(slots)]), None, None


def _taken(x: Tensor, slots: Tensor, count: int) -> Tensor:
    """[count, ...] of x at the `slots`; zeros behind."""
    if len(slots) == count:
        return x.index_select(0, slots)
    found = x.new_empty(count, *x.shape[1:])
    torch.index_select(x, 0, slots, out=found[: len(slots)])
    found[len(slots) :] = 0
    return found
