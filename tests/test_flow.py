"""What flows through a run: framing, and what heads read of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import vocabulary

from bertwright.data.pack import pack
from bertwright.flow import Batch

OWN = vocabulary()


def a_batch(*lengths: int) -> Batch:
    return pack([OWN.single(np.arange(5, 5 + n)) for n in lengths], OWN)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_single_frames_ids(dtype: type) -> None:
    example = OWN.single(np.array([9, 8], dtype))
    assert example.ids.tolist() == [2, 9, 8, 3]
    assert example.segments.tolist() == [0, 0, 0, 0]
    assert len(example) == 4


def test_pair_frames_two_segments() -> None:
    example = OWN.pair(np.array([9, 8]), np.array([7]), nsp=1)
    assert example.ids.tolist() == [2, 9, 8, 3, 7, 3]
    assert example.segments.tolist() == [0, 0, 0, 0, 1, 1]
    assert example.labels == {"nsp": 1}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 16)), min_size=1, max_size=4))
def test_heads_find_their_rows_among_what_is_read(asked: list[list[int]]) -> None:
    batch = a_batch(3, 5, 3)
    hidden = torch.arange(batch.tokens) * 10
    for number, positions in enumerate(asked):
        at = torch.tensor(positions, dtype=torch.int64)
        batch = batch.labelled(f"task{number}", at, torch.zeros_like(at))
    assert batch.reads is not None
    wanted = {position for positions in asked for position in positions}
    # A first token is read where nothing was asked for, so that no encoder meets an empty product.
    wanted |= set() if asked[0] else {0}
    assert batch.reads.tolist() == sorted(wanted)
    assert batch.counts == {f"task{number}": len(positions) for number, positions in enumerate(asked)}
    for number, positions in enumerate(asked):
        assert hidden[batch.reads][batch.rows(f"task{number}")].tolist() == [10 * position for position in positions]


def test_a_batch_without_labels_reads_everything() -> None:
    assert a_batch(3, 2).reads is None


def test_labelling_leaves_the_batch_as_it_was() -> None:
    batch = a_batch(3, 2)
    before = batch.ids.clone()
    changed = batch.with_ids(batch.ids + 1).labelled("mlm", torch.tensor([1]), torch.tensor([7]))
    assert torch.equal(batch.ids, before)
    assert (batch.labels, batch.reads) == ({}, None)
    assert changed.labels["mlm"].values.tolist() == [7]
    assert torch.equal(changed.ids, before + 1)


def test_firsts_and_sizes() -> None:
    batch = a_batch(3, 2, 1)
    assert (len(batch), batch.tokens, batch.lengths) == (3, 12, (5, 4, 3))
    assert batch.firsts.tolist() == [0, 5, 9]
    assert batch.ids[batch.firsts].tolist() == [2, 2, 2]


def test_a_batch_moves_as_a_whole() -> None:
    """To the device without memory: every tensor of the batch says where it is."""
    batch = a_batch(3, 2).labelled("mlm", torch.tensor([1]), torch.tensor([7])).to(torch.device("meta"))
    tensors = [batch.ids, batch.positions, batch.segments, batch.cu_seqlens, *batch.labels["mlm"], batch.reads]
    assert {x.device.type for x in tensors if x is not None} == {"meta"}
    assert batch.lengths == (5, 4)
    assert a_batch(3).to(torch.device("meta")).reads is None
