"""Rounded sizes: few, little larger, and without a trace in what is computed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertwright.flow import Batch
from bertwright.nn.rounding import SIZES, evened, in_even_rows, rounded

MakeBatch = Callable[..., Batch]


@given(st.integers(1, 10**6))
def test_a_size_is_little_larger(count: int) -> None:
    size = rounded(count)
    assert count <= size <= count * (1 + 1 / SIZES)
    assert rounded(size) == size
    assert rounded(count + 1) >= size


def test_there_are_few_sizes() -> None:
    assert len({rounded(count) for count in range(4097, 8193)}) == SIZES
    assert len({rounded(count, 4) for count in range(33, 65)}) == 4


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=90), data=st.data())
def test_an_evened_batch_begins_as_the_batch(make_batch: MakeBatch, lengths: list[int], data: st.DataObject) -> None:
    read = st.sets(st.integers(0, sum(lengths) - 1), min_size=1).map(sorted)
    batch = make_batch(lengths, data.draw(st.none() | read))
    even = evened(batch)
    n = batch.tokens
    assert torch.equal(even.ids[:n], batch.ids)
    assert torch.equal(even.positions[:n], batch.positions)
    assert torch.equal(even.segments[:n], batch.segments)
    assert even.lengths[: len(batch)] == batch.lengths
    assert (even.ids[n:] == batch.vocabulary.pad).all()
    assert int(even.cu_seqlens[-1]) == even.tokens == sum(even.lengths)
    assert torch.equal(even.cu_seqlens.diff(), torch.tensor(even.lengths))
    assert max(even.lengths) == max(batch.lengths)
    if min(lengths) == max(lengths):
        assert len(even) == rounded(len(batch))
        assert min(even.lengths) == max(even.lengths)
    else:
        assert 0 <= even.tokens - rounded(n) < (32 if rounded(n) >= 256 else 1)
        assert rounded(n) < 256 or even.tokens % 32 == 0
    if batch.reads is None:
        assert even.reads is None
    else:
        assert even.reads is not None
        assert len(even.reads) == rounded(len(batch.reads))
        assert torch.equal(even.reads.unique(), batch.reads)
        assert (even.reads.diff() >= 0).all()


def test_rows_that_are_added_are_cut_off() -> None:
    x = torch.randn(70, 3, 2)
    seen: list[int] = []

    def doubled(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return 2 * rows

    assert torch.equal(in_even_rows(doubled, x), 2 * x)
    assert seen == [rounded(70)]


def test_few_tokens_come_in_whole_tiles(make_batch: MakeBatch) -> None:
    """That is half as many sizes; fewer still are left as they are, of which each more would cost."""
    sizes = {evened(make_batch((20, n - 20))).tokens for n in range(257, 513)}
    assert sizes == {288, 320, 352, 384, 416, 448, 480, 512}
    assert evened(make_batch((20, 90))).tokens == 112
