"""Causal attention against its definition, beside sequences that are not, whole and within a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertwright.flow import Batch
from bertwright.nn import attention as attention_module
from bertwright.nn import local
from bertwright.nn.attention import Layout, attention
from bertwright.nn.causal import causal
from bertwright.nn.local import windowed
from bertwright.nn.rounding import evened
from bertwright.nn.varlen import Varlen

MakeBatch = Callable[..., Batch]
HEADS, WIDTH = 2, 4


def reading_on(batch: Batch, which: list[bool]) -> Batch:
    """The batch of which those sequences are causal."""
    return replace(batch, causal=torch.repeat_interleave(torch.tensor(which), torch.tensor(batch.lengths)))


def vectors(count: int, seed: int) -> Tensor:
    x = torch.randn(count, HEADS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (3 * x).requires_grad_()


def one_by_one(query: Tensor, key: Tensor, value: Tensor, batch: Batch, reach: int) -> Tensor:
    """The definition, over all pairs of tokens at once."""
    assert batch.causal is not None
    sequence = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(batch.lengths))
    places = torch.arange(batch.tokens)
    behind = places - places[:, None]
    sees = (sequence[:, None] == sequence) & (behind.abs() <= reach) & ((behind <= 0) | ~batch.causal[:, None])
    scores = torch.einsum("qhd,khd->hqk", query, key) / math.sqrt(WIDTH)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~sees, -math.inf).softmax(-1), value)


def check(batch: Batch, layout: Layout, reach: int) -> None:
    """Values and gradients; where nothing is read, whatever arrives there must have no effect."""
    q, k, v = (vectors(batch.tokens, seed) for seed in range(3))
    whole = one_by_one(q, k, v, batch, reach)
    want = whole if batch.reads is None else whole[batch.reads]
    pull = torch.randn(want.shape, dtype=want.dtype, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad((want * pull).sum(), (q, k, v))
    found = attention(q if batch.reads is None else q[batch.reads], k, v, layout, 0.0)
    torch.testing.assert_close(found, want)
    for mine, other in zip(torch.autograd.grad((found * pull).sum(), (q, k, v)), gradients, strict=True):
        torch.testing.assert_close(mine, other)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    reach=st.integers(1, 70),
    worth=st.sampled_from([0.0, math.inf]),
    data=st.data(),
)
def test_any_lengths_reads_and_windows(
    make_batch: MakeBatch, lengths: list[int], reach: int, worth: float, data: st.DataObject
) -> None:
    """In grids and in blocks; with a reach beyond all lengths it is global attention."""
    read = st.sets(st.integers(0, sum(lengths) - 1), min_size=1).map(sorted)
    which = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    batch = reading_on(make_batch(lengths, data.draw(st.none() | read)), which)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_WORTH_BLOCKS", worth)
        check(batch, windowed(causal(Layout.of(batch), batch), batch, reach), reach)


@pytest.mark.parametrize("reads", [None, (0, 3, 5, 6), (2, 19, 20)])
@pytest.mark.parametrize("lengths", [(8, 8, 8), (20, 5, 1)])
@pytest.mark.parametrize("reach", [3, 100])
def test_layouts_of_an_accelerator(
    make_batch: MakeBatch,
    lengths: tuple[int, ...],
    reads: tuple[int, ...] | None,
    reach: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One grid, as wide for the queries as for the keys, and the fused product; both must do the same on the CPU."""
    batch = reading_on(make_batch(lengths, reads), [True, False, True])
    whole = Layout.of(batch)
    wide = None if reads is None else attention_module._wide(batch, whole.tokens)
    monkeypatch.setattr(attention_module, "_matmul", attention_module._fused)
    layout = causal(Layout(whole.tokens, wide, whole.masks, varlen=Varlen.described(batch)), batch)
    assert layout.varlen is None
    check(batch, windowed(layout, batch, reach), reach)


def test_without_a_causal_sequence_nothing_changes(make_batch: MakeBatch) -> None:
    batch = make_batch((9, 4), (0, 10))
    layout = Layout.of(batch)
    assert causal(layout, batch) is layout


def test_sequences_that_fill_up_are_not_causal(make_batch: MakeBatch) -> None:
    """Rounding adds tokens; what it says of the others stays."""
    batch = reading_on(make_batch((30, 40, 3)), [True, False, True])
    even = evened(batch)
    assert even.tokens > batch.tokens
    assert even.causal is not None
    assert batch.causal is not None
    assert torch.equal(even.causal[: batch.tokens], batch.causal)
    assert not even.causal[batch.tokens :].any()
