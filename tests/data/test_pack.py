"""Examples to batches: nothing lost, nothing padded, within the budget."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import vocabulary

from bertwright.data.pack import pack, split, windows
from bertwright.flow import Example

FIXED = settings(max_examples=60, deadline=None, derandomize=True)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def made(lengths: list[int]) -> list[Example]:
    """Examples of those lengths; every token and every key occurs once."""
    starts = np.cumsum([0, *lengths])
    return [
        Example(ids=np.arange(start, start + n), segments=np.arange(n) % 2, key=number)
        for number, (start, n) in enumerate(zip(starts, lengths, strict=False))
    ]


@FIXED
@given(LENGTHS, st.sampled_from([np.uint16, np.int32, np.int64]))
def test_packed_is_end_to_end(lengths: list[int], dtype: type) -> None:
    group = [Example(ids=e.ids.astype(dtype), segments=e.segments.astype(dtype)) for e in made(lengths)]
    batch = pack(group, vocabulary())
    assert batch.lengths == tuple(lengths)
    assert batch.ids.tolist() == np.concatenate([e.ids for e in group]).tolist()
    assert batch.segments.tolist() == np.concatenate([e.segments for e in group]).tolist()
    assert batch.positions.tolist() == [place for n in lengths for place in range(n)]
    assert batch.cu_seqlens.tolist() == [0, *np.cumsum(lengths).tolist()]
    assert {x.dtype for x in (batch.ids, batch.segments, batch.positions, batch.cu_seqlens)} == {torch.int64}
    assert (batch.labels, batch.reads) == ({}, None)


def test_a_batch_shares_no_memory_with_its_examples() -> None:
    (example,) = made([5])
    pack([example], vocabulary()).ids[0] = 99
    assert example.ids[0] == 0


@FIXED
@given(LENGTHS, st.integers(1, 120))
def test_groups_hold_every_example_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    groups = split(made(lengths), tokens)
    assert sorted(example.key for group in groups for example in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(map(len, group)) * len(group) <= tokens
        assert len(group) == 1 or len(group[0]) <= tokens


@FIXED
@given(LENGTHS)
def test_what_fits_is_one_group(lengths: list[int]) -> None:
    assert len(split(made(lengths), max(lengths) * len(lengths))) == 1


def test_groups_are_of_similar_length() -> None:
    groups = split(made([3, 30, 4, 29, 5, 28]), 90)
    assert [[len(example) for example in group] for group in groups] == [[30, 29, 28], [5, 4, 3]]


def test_an_oversized_example_is_alone() -> None:
    groups = split(made([3, 100, 3]), 10)
    assert [[len(example) for example in group] for group in groups] == [[100], [3, 3]]


def test_nothing_is_no_group() -> None:
    assert split([], 10) == []
    assert list(windows([], 10)) == []


@FIXED
@given(LENGTHS, st.integers(1, 60), st.integers(1, 4))
def test_windows_hold_every_example_once_within_the_budget(lengths: list[int], tokens: int, ahead: int) -> None:
    groups = list(windows(iter(made(lengths)), tokens, ahead))
    assert sorted(example.key for group in groups for example in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or max(map(len, group)) * len(group) <= tokens for group in groups)


@pytest.mark.parametrize("ahead", [1, 3])
def test_windows_read_only_a_little_ahead(ahead: int) -> None:
    read = 0

    def stream() -> Iterator[Example]:
        nonlocal read
        for example in made([10] * 1000):
            read += 1
            yield example

    given_out = 0
    for group in windows(stream(), 50, ahead):
        given_out += len(group)
        assert read - given_out <= 5 * ahead
    assert given_out == 1000
