"""Metrics as sums."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.sums import add, occurrences, ratio

PART = st.dictionaries(st.sampled_from(["loss", "correct", "seen"]), st.integers(-1000, 1000))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(PART, max_size=6), st.integers(0, 6))
def test_sums_add_however_they_are_grouped(parts: list[dict[str, int]], cut: int) -> None:
    tensors = [{name: torch.tensor(value) for name, value in part.items()} for part in parts]
    whole = add(tensors)
    grouped = add([add(tensors[:cut]), add(tensors[cut:])])
    expected: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            expected[name] = expected.get(name, 0) + value
    assert {name: value.item() for name, value in whole.items()} == expected
    assert {name: value.item() for name, value in grouped.items()} == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64])
def test_sums_are_float64(dtype: torch.dtype) -> None:
    """2**30 and a thousand ones: in fp32 and bf16 the ones would be lost."""
    one = {"loss": torch.tensor(1, dtype=dtype)}
    whole = add([{"loss": torch.tensor(2**30, dtype=dtype)}, *([one] * 1000)])
    assert whole["loss"].dtype == torch.float64
    assert whole["loss"].item() == 2**30 + 1000


def test_sums_hold_no_graph_and_leave_their_parts_alone() -> None:
    loss = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([1.0, 2.0], dtype=torch.float64)
    whole = add([{"loss": loss, "counts": counts}, {"counts": counts}])
    assert not whole["loss"].requires_grad
    assert whole["counts"].tolist() == [2, 4]
    assert counts.tolist() == [1, 2]


def test_ratio_of_nothing_is_nothing() -> None:
    assert ratio(torch.tensor(3.0), torch.tensor(4.0)) == 0.75
    assert ratio(torch.tensor(0.0), torch.tensor(0)) == 0.0
    assert add([]) == {}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 6)))
def test_occurrences_are_those_of_bincount(values: list[int]) -> None:
    tensor = torch.tensor(values, dtype=torch.long)
    assert torch.equal(occurrences(tensor, 7), torch.bincount(tensor, minlength=7))
