"""Few shapes in place of many: on a CPU, oneDNN builds a kernel for every shape that it has not met.

One takes up to 5 ms, as long as the products of a small batch, and is then kept, in memory that adds up. So what is
computed comes in a few sizes: tokens, reads and labelled positions are rounded up, by at most a sixteenth (an eighth
where tokens are few), and what was added is cut off again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..flow import Batch

SIZES = 16
"""How many sizes there are from one power of two to the next: more waste less, and take longer to have all been met."""

_TILE = 32
"""Hundreds of tokens come in multiples of this: in half as many sizes as of 16, of which a step takes no more time."""
_FEW = 8 * _TILE


def rounded(count: int, sizes: int = SIZES) -> int:
    """The least size that is not below `count`."""
    grain = max(1, (1 << (count - 1).bit_length()) // (2 * sizes))
    return -(-count // grain) * grain


def evened(batch: Batch) -> Batch:
    """The batch with a rounded number of tokens and of reads.

    Sequences of padding come behind the last, which no other sequence sees, and some reads come twice. Labels and
    whatever else counts tokens stay as they were. On an accelerator, where shapes cost nothing, it is the batch itself.
    """
    if batch.ids.device.type != "cpu":
        return batch
    return _with_reads(_with_tokens(batch))


def in_even_tokens(encode: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """`encode(batch)`, [R, H] at `batch.reads` or [N, H], called on the evened batch."""
    even = evened(batch)
    hidden = encode(even)
    if even.reads is None or batch.reads is None:
        return hidden[: batch.tokens]
    return hidden if even.reads is batch.reads else hidden[torch.searchsorted(even.reads, batch.reads)]


def in_even_rows(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)` for a function of each row of x [M, ...] alone, called on a rounded number of rows."""
    more = rounded(len(x)) - len(x) if x.device.type == "cpu" else 0
    if not more:
        return function(x)
    return function(F.pad(x, (0,) * (2 * x.ndim - 1) + (more,)))[: len(x)]


def _with_tokens(batch: Batch) -> Batch:
    width = max(batch.lengths)
    if width == min(batch.lengths):
        more = (rounded(len(batch)) - len(batch)) * width
    else:
        more = _in_tiles(rounded(batch.tokens)) - batch.tokens
    if not more:
        return batch
    whole, rest = divmod(more, width)
    lengths = (*batch.lengths, *[width] * whole, *[rest] * bool(rest))
    return replace(
        batch,
        ids=_followed(batch.ids, batch.vocabulary.pad, more),
        positions=torch.from_numpy(np.concatenate((batch.positions.numpy(), np.arange(more) % width))),
        segments=_followed(batch.segments, 0, more),
        cu_seqlens=torch.from_numpy(np.cumsum((0, *lengths))),
        lengths=lengths,
        padding=len(lengths) - len(batch),
        causal=None if batch.causal is None else _followed(batch.causal, False, more),
    )


def _followed(x: Tensor, value: int, times: int) -> Tensor:
    """[N + times] x with so many of the value behind it; numpy takes a fifth of torch's time for so little."""
    plain = x.numpy()
    return torch.from_numpy(np.concatenate((plain, np.full(times, value, plain.dtype))))


def _in_tiles(tokens: int) -> int:
    return tokens if tokens < _FEW else -(-tokens // _TILE) * _TILE


def _with_reads(batch: Batch) -> Batch:
    reads = batch.reads
    if reads is None or (more := rounded(len(reads)) - len(reads)) == 0:
        return batch
    # Evenly over all: a sequence that got many more would make attention's rows longer.
    again = reads[torch.arange(more) * len(reads) // more]
    return replace(batch, reads=torch.cat((reads, again)).sort().values)
