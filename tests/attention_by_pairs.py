"""Attention by its definition, over all pairs of tokens at once; what is made of a layout is held to it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bertwright.flow import Batch
from bertwright.nn.attention import Layout, attention

HEADS, WIDTH = 2, 4


def vectors(count: int, seed: int) -> Tensor:
    x = torch.randn(count, HEADS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * x).requires_grad_()


def by_pairs(query: Tensor, key: Tensor, value: Tensor, batch: Batch, reach: int) -> Tensor:
    """[N, h, d] of what each token sees: its own sequence, `reach` tokens either way, none behind it where causal."""
    sequence = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(batch.lengths))
    places = torch.arange(batch.tokens)
    behind = places - places[:, None]
    sees = (sequence[:, None] == sequence) & (behind.abs() <= reach)
    if batch.causal is not None:
        sees &= (behind <= 0) | ~batch.causal[:, None]
    scores = torch.einsum("qhd,khd->hqk", query, key) / math.sqrt(WIDTH)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~sees, -math.inf).softmax(-1), value)


def check(batch: Batch, layout: Layout, reach: int) -> None:
    """Values and gradients; where nothing is read, whatever arrives there must have no effect."""
    q, k, v = (vectors(batch.tokens, seed) for seed in range(3))
    whole = by_pairs(q, k, v, batch, reach)
    want = whole if batch.reads is None else whole[batch.reads]
    pull = torch.randn(want.shape, dtype=want.dtype, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad((want * pull).sum(), (q, k, v))
    found = attention(q if batch.reads is None else q[batch.reads], k, v, layout, 0.0)
    torch.testing.assert_close(found, want)
    for mine, other in zip(torch.autograd.grad((found * pull).sum(), (q, k, v)), gradients, strict=True):
        torch.testing.assert_close(mine, other)
