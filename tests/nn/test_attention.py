"""Attention over sequences laid end to end against attention over each of them alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertwright.flow import Batch
from bertwright.nn import attention as module
from bertwright.nn import products
from bertwright.nn.attention import Layout, attention
from bertwright.nn.dropout import dropout
from bertwright.nn.grids import Grids
from bertwright.nn.rounding import evened

MakeBatch = Callable[..., Batch]
HEADS, WIDTH = 2, 4


def vectors(count: int, seed: int) -> Tensor:
    x = torch.randn(count, HEADS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * x).requires_grad_()


def one_by_one(query: Tensor, key: Tensor, value: Tensor, batch: Batch) -> Tensor:
    """The definition, a sequence and a head at a time."""
    rows = []
    for q, k, v in zip(*(x.split(batch.lengths) for x in (query, key, value)), strict=True):
        heads = [(q[:, h] @ k[:, h].T / math.sqrt(WIDTH)).softmax(-1) @ v[:, h] for h in range(HEADS)]
        rows.append(torch.stack(heads, 1))
    return torch.cat(rows)


def check(batch: Batch, layout: Layout) -> None:
    """Values and gradients; where nothing is read, whatever arrives there must have no effect."""
    q, k, v = (vectors(batch.tokens, seed) for seed in range(3))
    whole = one_by_one(q, k, v, batch)
    want = whole if batch.reads is None else whole[batch.reads]
    pull = torch.randn(want.shape, dtype=want.dtype, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad((want * pull).sum(), (q, k, v))
    asked = q if batch.reads is None else q[batch.reads]
    found = attention(asked, k, v, layout, 0.0)
    torch.testing.assert_close(found, want)
    for mine, other in zip(torch.autograd.grad((found * pull).sum(), (q, k, v)), gradients, strict=True):
        torch.testing.assert_close(mine, other)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=12), data=st.data())
def test_any_lengths_and_reads(make_batch: MakeBatch, lengths: list[int], data: st.DataObject) -> None:
    read = st.sets(st.integers(0, sum(lengths) - 1), min_size=1).map(sorted)
    batch = make_batch(lengths, data.draw(st.none() | read))
    check(batch, Layout.of(batch))


@pytest.mark.parametrize(
    ("lengths", "reads"),
    [
        ((4, 4, 4), None),
        ((4, 4, 4), (0, 3, 5, 6, 8, 11)),
        ((4, 4, 4), (0, 3, 5)),
        ((2, 5, 1), None),
        ((2, 5, 1), (0, 2, 7)),
        ((2, 5, 1), (6,)),
        ((1,), (0,)),
        ((300, 299, 100, 99, 30, 29), None),
        ((30, 299, 100, 99, 300, 29), (0, 400, 401, 402, 856)),
    ],
)
def test_layouts_by_hand(make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None) -> None:
    batch = make_batch(lengths, reads)
    check(batch, Layout.of(batch))


@pytest.mark.parametrize("reads", [None, (0, 40, 41, 130, 250)])
@pytest.mark.parametrize("lengths", [(100, 90, 61), (37, 100, 37, 90, 37, 20, 19)])
def test_padding_gets_nothing_and_gives_nothing(
    make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None
) -> None:
    plain = make_batch(lengths, reads)
    even = evened(plain)
    assert even.padding
    assert even.tokens > plain.tokens
    q, k, v = (vectors(even.tokens, seed) for seed in range(3))
    of = [x[: plain.tokens].detach().requires_grad_() for x in (q, k, v)]
    want = attention(of[0] if reads is None else of[0][plain.reads], of[1], of[2], Layout.of(plain), 0.0)
    found = attention(q if reads is None else q[even.reads], k, v, Layout.of(even), 0.0)
    if even.reads is not None:
        assert plain.reads is not None
        found = found[torch.searchsorted(even.reads, plain.reads)]
    else:
        assert not found[plain.tokens :].any()
        found = found[: plain.tokens]
    torch.testing.assert_close(found, want)
    expected = torch.autograd.grad(want.sum() + want.square().sum(), of)
    for mine, other in zip(torch.autograd.grad(found.sum() + found.square().sum(), (q, k, v)), expected, strict=True):
        torch.testing.assert_close(mine[: plain.tokens], other)
        assert not mine[plain.tokens :].any()


def test_equal_rows_need_no_grid(make_batch: MakeBatch) -> None:
    layout = Layout.of(make_batch((4, 4, 4), (0, 3, 5, 6, 8, 11)))
    assert layout.tokens == Grids(((3, 4),), None, None)
    assert layout.reads == Grids(((3, 2),), None, None)
    assert layout.masks == (None,)


def test_sequences_of_like_length_share_a_grid(make_batch: MakeBatch) -> None:
    layout = Layout.of(make_batch((100, 300, 299, 90, 20)))
    assert layout.tokens.shapes == ((2, 304), (3, 104))
    few = Layout.of(make_batch((30, 3, 4)))
    assert few.tokens.shapes == ((3, 32),)


@pytest.mark.parametrize("reads", [None, (0, 3, 5, 6), (2, 5, 7)])
@pytest.mark.parametrize("lengths", [(4, 4, 4), (2, 5, 1), (300, 30, 3)])
def test_layouts_of_an_accelerator(
    make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None
) -> None:
    """One grid, as wide for the queries as for the keys; here it must do the same on the CPU."""
    batch = make_batch(lengths, reads)
    layout = Layout.in_one_grid(batch)
    assert layout.tokens.shapes == ((3, max(lengths)),)
    check(batch, layout)


@pytest.mark.parametrize("reads", [None, (0, 3, 5, 6), (2, 5, 7)])
@pytest.mark.parametrize("lengths", [(5, 5, 5), (5, 2, 1)])
def test_both_products_agree(make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None) -> None:
    batch = make_batch(lengths, reads)
    layout = Layout.in_one_grid(batch)
    q, k, v = (vectors(batch.tokens, seed) for seed in range(3))
    asked = q if reads is None else q[batch.reads]
    found = [
        product(asked, k, v, layout.reads or layout.tokens, layout.tokens, layout.masks, 0.0)
        for product in (module.attended, module._fused)
    ]
    torch.testing.assert_close(*found)
    gradients = [torch.autograd.grad(x.square().sum(), (q, k, v), retain_graph=True) for x in found]
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("p", [0.0, 0.25])
@pytest.mark.parametrize("lengths", [(40, 7, 33), (24, 24), (140, 130, 20, 9)])
def test_in_bf16_as_by_autograd_from_the_same_numbers(
    make_batch: MakeBatch, lengths: tuple[int, ...], p: float
) -> None:
    """Queries, keys and values that lie side by side, as one product gives them; dropped weights are the same."""
    batch = make_batch(lengths)
    draws = torch.Generator().manual_seed(3)
    both = torch.randn(batch.tokens, 3 * HEADS * 8, generator=draws).bfloat16().requires_grad_()
    pull = torch.randn(batch.tokens, HEADS, 8, generator=draws).bfloat16()

    def of(function: Callable[..., Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        out = function(*(part.unflatten(1, (HEADS, -1)) for part in x.chunk(3, 1)))
        return out, torch.autograd.grad((out * pull).sum(), both)[0]

    layout = Layout.of(batch)
    found, gradient = of(lambda q, k, v: attention(q, k, v, layout, p), both)
    want, expected = of(lambda q, k, v: in_grids(q, k, v, layout, p), both.float())
    assert found.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), want, rtol=0.02, atol=0.02)
    torch.testing.assert_close(gradient.float(), expected.float(), rtol=0.03, atol=0.03)


def test_under_autocast_it_is_in_that_type(make_batch: MakeBatch) -> None:
    """Whatever comes: the gradients have the types of what came."""
    layout = Layout.of(make_batch((5, 2, 1)))
    q, k, v = (vectors(8, seed).detach().float().requires_grad_() for seed in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(q, k.bfloat16(), v, layout, 0.0)
    assert found.dtype == torch.bfloat16
    want = attention(q, k, v, layout, 0.0)
    torch.testing.assert_close(found.float(), want, rtol=0.05, atol=0.05)
    gradients = [torch.autograd.grad(x.float().square().sum(), (q, k, v)) for x in (found, want)]
    for mine, other in zip(*gradients, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - other).abs().max()) < 0.05 * float(other.abs().max())


def in_grids(q: Tensor, k: Tensor, v: Tensor, layout: Layout, p: float) -> Tensor:
    """The definition grid by grid, in the type of what comes, with the weights dropped that `attention` drops."""
    flat, found, first = [], q.new_zeros(q.shape), 0
    fill = torch.arange(len(q)) if layout.tokens.fill is None else layout.tokens.fill
    for (rows, width), mask in zip(layout.tokens.shapes, layout.masks, strict=True):
        here = fill[first : first + rows * width]
        first += rows * width
        query, key, value = (x[here].unflatten(0, (rows, width)).transpose(1, 2) for x in (q, k, v))
        scores = query @ key.transpose(2, 3) / math.sqrt(q.shape[-1])
        weights = (scores if mask is None else scores.masked_fill(~mask.sees[:, None], -math.inf)).softmax(-1)
        flat.append((dropout(weights, p) @ value).transpose(1, 2).flatten(0, 1))
    slots = torch.arange(len(q)) if layout.tokens.slots is None else layout.tokens.slots
    found[: len(slots)] = torch.cat(flat)[slots]
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(width=st.integers(1, 140), rows=st.integers(1, 20), seed=st.integers(0, 1000))
def test_the_softmax_of_bf16_scores_is_that_of_fp32(width: int, rows: int, seed: int) -> None:
    """Whatever the width, which decides on the kernel: the sums are in fp32, and the result is rounded once."""
    scores = 4 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).bfloat16()
    pull = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed + 1)).bfloat16()
    weights = products._softmax(scores)
    assert torch.equal(weights, scores.softmax(-1, dtype=torch.float32).bfloat16())
    exact = weights.double() * (pull.double() - (weights.double() * pull.double()).sum(-1, keepdim=True))
    torch.testing.assert_close(products._of_softmax(pull, weights).double(), exact, rtol=1 / 128, atol=1e-5)


def test_dropped_weights_are_scaled(make_batch: MakeBatch) -> None:
    batch = make_batch((64, 64))
    q, k = torch.zeros(128, HEADS, WIDTH), torch.zeros(128, HEADS, WIDTH)
    torch.manual_seed(0)
    sums = attention(q, k, torch.ones(128, HEADS, WIDTH), Layout.of(batch), 0.5)
    kept = sums[:, :, 0] * 64 / 2
    torch.testing.assert_close(kept, kept.round())
    assert 28 < float(kept.mean()) < 36
    assert len(kept.unique()) > 5
