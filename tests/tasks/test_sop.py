"""Sentence order: neighbours in order or swapped, alike at both ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SPAN, numbered

from bertwright.flow import Document
from bertwright.tasks.sop import SentenceOrder

FIXED = settings(max_examples=80, deadline=None, derandomize=True)
SHAPES = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=3)
Pair = tuple[np.ndarray, np.ndarray, int]


def pairs_of(document: Document, seed: int = 0, swapped: float = 0.5) -> list[Pair]:
    return list(SentenceOrder(swapped=swapped).pairs(document, np.random.default_rng(seed)))


@FIXED
@given(SHAPES, st.integers(8, 64), st.integers(0, 99))
def test_both_are_neighbours_and_the_label_says_their_order(shapes: list[list[int]], length: int, seed: int) -> None:
    for number, (document, shape) in enumerate(zip(numbered(shapes, length), shapes, strict=True), 1):
        made = pairs_of(document, seed)
        assert bool(made) == (len(shape) > 1)
        starts = np.cumsum([0, *shape]) + number * SPAN
        for first, second, label in made:
            one, two = (second, first) if label else (first, second)
            assert min(len(one), len(two)) >= 1
            assert len(one) + len(two) <= length - 3
            assert one[-1] < two[0]
            assert (np.diff(one) == 1).all()
            assert (np.diff(two) == 1).all()
            # The second begins in the sentence after the last one of the first.
            after = starts[np.searchsorted(starts, one[-1], side="right")]
            assert two[0] >= after
            assert two[0] - after < max(shape) + 8


@FIXED
@given(st.lists(st.integers(1, 30), min_size=4, max_size=60), st.integers(8, 64), st.integers(0, 99))
def test_the_ends_of_a_document_are_left_out(shape: list[int], length: int, seed: int) -> None:
    (document,) = numbered([shape], length)
    seen = {int(one) - SPAN for first, second, _ in pairs_of(document, seed) for one in (*first, *second)}
    assert min(seen) >= shape[0]
    assert max(seen) < sum(shape[:-1])


def test_half_is_swapped_and_the_lengths_say_nothing() -> None:
    shape = np.random.default_rng(3).integers(1, 40, 40_000).tolist()
    (document,) = numbered([shape], 64)
    made = pairs_of(document)
    labels = np.array([label for _, _, label in made])
    assert len(labels) > 5000
    assert labels.mean() == pytest.approx(0.5, abs=0.02)
    assert {(len(first), len(second)) for first, second, _ in made[1:-1]} == {(30, 30)}


def test_pairs_are_not_swapped_unless_asked() -> None:
    (document,) = numbered([[9] * 50], 32)
    assert {label for _, _, label in pairs_of(document, swapped=0.0)} == {0}
    assert {label for _, _, label in pairs_of(document, swapped=1.0)} == {1}


def test_a_short_document_is_divided_anywhere() -> None:
    (document,) = numbered([[4] * 7], 64)
    firsts = [len(pairs_of(document, seed, swapped=0.0)[0][0]) for seed in range(200)]
    assert len({length // 4 for length in firsts}) >= 4


@pytest.mark.parametrize("seed", range(10))
def test_pairs_at_either_end_of_a_document_are_blunted(seed: int) -> None:
    """Of sentences that fill a segment without a rest, so that nothing else is cut off."""
    (document,) = numbered([[9] * 50], 39)
    pairs = pairs_of(document, seed, swapped=0.0)
    assert pairs[0][0][0] > SPAN + 9
    assert pairs[-1][1][-1] < SPAN + 49 * 9 - 1
    assert all(len(first) == len(second) == 18 for first, second, _ in pairs[1:-1])
