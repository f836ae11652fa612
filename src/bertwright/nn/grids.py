"""Where vectors laid end to end stand in rows of equal length, which attention's products need.

Letters: K vectors, h heads, d width of a head. A row is a sequence's, and rows of like length make a grid. For a CPU
vectors are laid out as its products read them, head by head, a head's rows one after the other: `lines` [P, d], where
P is the number of places in all grids times that of heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Which keys the queries of a grid see."""

    sees: Tensor
    """[rows or 1, queries or 1, keys] True where a query sees a key"""
    _biases: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict, init=False, repr=False)

    def bias(self, heads: int, dtype: torch.dtype) -> Tensor:
        """What to add to scores: 0 where a key is seen, else minus infinity. All layers share it.

        [rows x heads or 1, queries or 1, keys] where one of the first two is 1; else, as that would be large,
        [rows, queries, keys].
        """
        key = heads, dtype
        if (found := self._biases.get(key)) is not None:
            return found
        bias = torch.zeros(self.sees.shape, dtype=dtype).masked_fill_(~self.sees, float("-inf"))
        if 1 in bias.shape[:2] and len(bias) > 1:
            bias = bias.repeat_interleave(heads, 0)
        if not torch.compiler.is_compiling():  # What is compiled has no effects but its result.
            self._biases[key] = bias
        return bias


Masks = tuple[Mask | None, ...]
"""Of each grid; None: its queries see all of their row."""


@dataclass(frozen=True, slots=True)
class Grids:
    """Grids of equal rows, one row a sequence, one grid after the other."""

    shapes: tuple[tuple[int, int], ...]
    """(rows, width) of each grid"""
    slots: Tensor | None
    """[K] the place of each vector among those of all grids; None where the vectors fill one grid in order. There may
    be fewer than vectors: those behind are padding, which gets zeros and sends nothing back."""
    fill: Tensor | None
    """[sum of rows x width] the vector in each place: another of the same sequence where there is none."""
    _tables: dict[tuple[int, int, int], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `_filling` found, by heads, parts and step, and `_places`, by heads, parts and 0: all layers share it."""

    def spread(self, x: Tensor) -> Tensor:
        """[K, h, d] -> [rows, h, width, d], for an accelerator, which has one grid; a view where they fill it."""
        ((rows, width),) = self.shapes
        if self.slots is not None and self.fill is not None:
            x = _Spread.apply(x, self.slots, self.fill)  # type: ignore[assignment]
        return x.unflatten(0, (rows, width)).transpose(1, 2)

    def gather(self, x: Tensor, count: int) -> Tensor:
        """[rows, h, width, d] -> [K, h, d] for `count` vectors: `spread` undone."""
        flat = x.transpose(1, 2).flatten(0, 1)
        return flat if self.slots is None else _Gather.apply(flat, self.slots, count)  # type: ignore[return-value]

    def lines(self, x: Tensor, parts: int = 1) -> Tensor:
        """[K, parts x h, d] -> [parts x P, d], one part after the other, without a gradient"""
        heads, size = x.shape[1] // parts, x.shape[2]
        if self.fill is None:
            rows, width = self.shapes[0]
            return x.view(rows, width, parts, heads, size).permute(2, 0, 3, 1, 4).reshape(-1, size)
        # The queries of a product that also gives keys and values lie between these, and are read where they lie; but
        # what is compiled may lie anywhere.
        if torch.compiler.is_compiling() or x.stride(2) != 1 or x.stride(1) != size or x.stride(0) % size:
            x = x.contiguous()
        step = x.stride(0) // size
        lines = x.as_strided(((len(x) - 1) * step + parts * heads, size), (size, 1))
        return lines.index_select(0, self._filling(heads, parts, step))

    def lines_once(self, x: Tensor) -> Tensor:
        """[K, h, d] -> [P, d] with each vector in its own place and zeros elsewhere"""
        if self.slots is None:
            return self.lines(x)
        heads, size = x.shape[1:]
        places = self._places(heads)
        lines = x.new_zeros(heads * sum(rows * width for rows, width in self.shapes), size)
        return lines.index_copy_(0, places, x[: len(self.slots)].reshape(-1, size))

    def vectors(self, lines: Tensor, heads: int, count: int, parts: int = 1) -> Tensor:
        """[parts x P, d] -> [K, parts x h, d] for `count` vectors: `lines` undone"""
        if self.slots is None:
            rows, width = self.shapes[0]
            whole = lines.view(parts, rows, heads, width, -1).permute(1, 3, 0, 2, 4)
            return whole.reshape(count, parts * heads, -1)
        places = self._places(heads, parts)
        return _taken(lines, places, count * parts * heads).view(count, parts * heads, -1)

    def _filling(self, heads: int, parts: int, step: int) -> Tensor:
        """[parts x P] which line of vectors that are `step` lines apart goes to each line of the grids."""
        assert self.fill is not None
        if (found := self._tables.get((heads, parts, step))) is not None:
            return found
        head = torch.arange(heads)[:, None]
        grids = zip(self.fill.split([rows * width for rows, width in self.shapes]), self.shapes, strict=True)
        lines = torch.cat([(fill.view(rows, 1, width) * step + head).flatten() for fill, (rows, width) in grids])
        return self._remembered((heads, parts, step), _again(lines, parts, heads).T.flatten())

    def _places(self, heads: int, parts: int = 1) -> Tensor:
        """[K x parts x h] which line of the grids each head of each vector has."""
        assert self.slots is not None
        if (found := self._tables.get((heads, parts, 0))) is not None:
            return found
        firsts, apart, begin = [], [], 0
        for rows, width in self.shapes:
            line = begin + torch.arange(rows)[:, None] * (heads * width) + torch.arange(width)
            firsts.append(line.flatten())
            apart.append(torch.full((rows * width,), width))
            begin += rows * width * heads
        first, step = torch.cat(firsts)[self.slots], torch.cat(apart)[self.slots]
        lines = _again(first, parts, begin)[:, :, None] + step[:, None, None] * torch.arange(heads)
        return self._remembered((heads, parts, 0), lines.flatten())

    def _remembered(self, key: tuple[int, int, int], table: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():  # What is compiled has no effects but its result.
            self._tables[key] = table
        return table


@dataclass(frozen=True, slots=True)
class Spans:
    """Where keys stand for queries in blocks of `reach` tokens: one grid, a row a block, a block on either side."""

    blocks: int
    reach: int

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        return ((self.blocks, 3 * self.reach),)

    def lines(self, x: Tensor) -> Tensor:
        """[N, h, d] -> [P, d], without a gradient; zeros before the first token and behind the last"""
        padded = F.pad(x, (0, 0, 0, 0, self.reach, (self.blocks + 1) * self.reach - len(x)))
        return padded.unfold(0, 3 * self.reach, self.reach).transpose(2, 3).reshape(-1, x.shape[-1])

    def vectors(self, lines: Tensor, heads: int, count: int) -> Tensor:
        """[P, d] -> [N, h, d] for `count` tokens: the sum over the places of each"""
        parts = lines.view(self.blocks, heads, 3, self.reach, -1)
        whole = lines.new_zeros(self.blocks + 2, self.reach, heads, lines.shape[-1])
        for at in range(3):
            whole[at : at + self.blocks] += parts[:, :, at].transpose(1, 2)
        return whole.flatten(0, 1)[self.reach : self.reach + count]

    def tokens(self, device: torch.device) -> Tensor:
        """[blocks, 3 reach] which token stands where, counted on beyond either end"""
        firsts = torch.arange(-1, self.blocks - 1, device=device) * self.reach
        return firsts[:, None] + torch.arange(3 * self.reach, device=device)


def grids_of(counts: np.ndarray, order: np.ndarray, shapes: Sequence[tuple[int, int]]) -> tuple[Grids, Masks]:
    """Grids for `counts[s]` vectors of each sequence s, whose rows come in `order`; and which places are taken.

    A row that is of the same sequence as the one before is there to make up the number. It is worked out by numpy, at a
    fifth of what torch takes for so little.
    """
    firsts = counts.cumsum() - counts
    repeated = np.diff(order, prepend=-1) == 0
    fills, masks, takes, first_row = [], [], [], 0
    for rows, width in shapes:
        which = slice(first_row, first_row + rows)
        first_row += rows
        here, within = order[which], np.arange(width)
        number = counts[here, None]
        mask = within < number
        masks.append(Mask(torch.from_numpy(mask)[:, None]))
        takes.append((mask & ~repeated[which, None]).ravel())
        fills.append((firsts[here, None] + np.minimum(within, np.maximum(number - 1, 0))).ravel())
    fill, places = np.concatenate(fills), np.concatenate(takes).nonzero()[0]
    slots = np.empty(counts.sum(), np.int64)
    slots[fill[places]] = places
    # A sequence without a vector, behind the last, is filled from before the end.
    fill = np.minimum(fill, len(slots) - 1)
    return Grids(tuple(shapes), torch.from_numpy(slots), torch.from_numpy(fill)), tuple(masks)


class _Spread(torch.autograd.Function):
    """Vectors into their places. What stands in the others gets weight 0, hence no gradient to bring back.

    As `_Gather` without a `setup_context`, for which torch looks at the signature in each call: a twentieth of a
    millisecond.
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


def _again(lines: Tensor, parts: int, further: int) -> Tensor:
    """[L] -> [L, parts] the same lines for each part, which begins so many lines further than the one before."""
    return lines[:, None] + torch.arange(parts) * further


def _taken(x: Tensor, slots: Tensor, count: int) -> Tensor:
    """[count, ...] of x at the `slots`; zeros behind."""
    if len(slots) == count:
        return x.index_select(0, slots)
    found = x.new_empty(count, *x.shape[1:])
    torch.index_select(x, 0, slots, out=found[: len(slots)])
    found[len(slots) :] = 0
    return found
