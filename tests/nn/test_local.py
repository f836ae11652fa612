"""Attention within a window against its definition, in grids and in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from attention_by_pairs import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertwright.flow import Batch
from bertwright.nn import attention as attention_module
from bertwright.nn import local
from bertwright.nn.attention import Layout
from bertwright.nn.grids import Spans
from bertwright.nn.local import windowed

MakeBatch = Callable[..., Batch]
FIXED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EITHER = pytest.mark.parametrize("worth", [0.0, math.inf], ids=["blocks", "grids"])


@contextmanager
def blocks_worth(times: float) -> Iterator[None]:
    """Blocks wherever they can be, with 0; nowhere, with infinity."""
    before, local._WORTH_BLOCKS = local._WORTH_BLOCKS, times
    try:
        yield
    finally:
        local._WORTH_BLOCKS = before


@FIXED
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    reach=st.integers(1, 20),
    worth=st.sampled_from([0.0, math.inf, 2.0]),
    data=st.data(),
)
def test_any_lengths_reads_and_windows(
    make_batch: MakeBatch, lengths: list[int], reach: int, worth: float, data: st.DataObject
) -> None:
    read = st.sets(st.integers(0, sum(lengths) - 1), min_size=1).map(sorted)
    batch = make_batch(lengths, data.draw(st.none() | read))
    with blocks_worth(worth):
        check(batch, windowed(Layout.of(batch), batch, reach), reach)


@EITHER
@pytest.mark.parametrize(
    ("lengths", "reads", "reach"),
    [
        ((12, 12), None, 4),  # blocks end where sequences do
        ((12, 12), (0, 3, 12, 15), 4),  # as many reads in each row, at other places of each
        ((12, 12), (0, 11, 12, 13), 4),
        ((30,), (0, 29), 3),  # blocks that nothing is read of
        ((7, 1, 9), (8,), 2),
        ((7, 1, 9), tuple(range(17)), 2),
        ((40, 3, 4), (0, 42, 46), 5),
        ((2, 2), None, 1),  # sees all of its sequence, though not of its block
    ],
)
def test_layouts_by_hand(
    make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None, reach: int, worth: float
) -> None:
    batch = make_batch(lengths, reads)
    with blocks_worth(worth):
        check(batch, windowed(Layout.of(batch), batch, reach), reach)


@pytest.mark.parametrize("reads", [None, (0, 3, 5, 6), (2, 19, 20)])
@pytest.mark.parametrize("lengths", [(8, 8, 8), (20, 5, 1)])
def test_layouts_of_an_accelerator(
    make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One grid, as wide for the queries as for the keys, and the fused product; both must do the same on the CPU."""
    batch = make_batch(lengths, reads)
    monkeypatch.setattr(attention_module, "attended", attention_module._fused)
    check(batch, local._in_grids(Layout.in_one_grid(batch), batch, 3), 3)


def test_what_all_see_is_the_global_layout(make_batch: MakeBatch) -> None:
    batch = make_batch((9, 4), (0, 10))
    whole = Layout.of(batch)
    assert windowed(whole, batch, 8) is whole
    assert windowed(whole, batch, 7) is not whole


def test_long_sequences_do_not_meet_as_a_whole(make_batch: MakeBatch) -> None:
    """A fortieth of the scores that all pairs have; sequences of two windows stay as they are."""
    batch = make_batch((5000, 2000))
    layout = windowed(Layout.of(batch), batch, 64)
    assert layout.spans == Spans(blocks=110, reach=64)
    assert layout.tokens.shapes == ((110, 64),)
    assert [mask.sees.shape for mask in layout.masks if mask is not None] == [(110, 64, 192)]
    short = make_batch((128, 128, 100))
    assert windowed(Layout.of(short), short, 64).spans is None


def test_equal_rows_share_a_mask(make_batch: MakeBatch) -> None:
    batch = make_batch((20, 20, 20), (0, 20, 45))
    layout = windowed(Layout.of(batch), batch, 12)
    assert [mask.sees.shape for mask in layout.masks if mask is not None] == [(1, 20, 20)]
    assert layout.read_masks is not None
    assert [mask.sees.shape for mask in layout.read_masks if mask is not None] == [(3, 1, 20)]
