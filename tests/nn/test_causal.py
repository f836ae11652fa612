"""Causal attention against its definition, beside sequences that are not, whole and within a window."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from attention_by_pairs import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertwright.flow import Batch
from bertwright.nn import attention as attention_module
from bertwright.nn import local
from bertwright.nn.attention import Layout
from bertwright.nn.causal import causal
from bertwright.nn.local import windowed
from bertwright.nn.rounding import evened
from bertwright.nn.varlen import Varlen

MakeBatch = Callable[..., Batch]


def reading_on(batch: Batch, which: list[bool]) -> Batch:
    """The batch of which those sequences are causal."""
    return replace(batch, causal=torch.repeat_interleave(torch.tensor(which), torch.tensor(batch.lengths)))


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
    monkeypatch.setattr(attention_module, "attended", attention_module._fused)
    monkeypatch.setattr(local, "_WORTH_BLOCKS", float("inf"))
    layout = causal(replace(Layout.in_one_grid(batch), varlen=Varlen.described(batch)), batch)
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
