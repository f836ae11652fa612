"""Same sentence: halves of one sentence, or of two, that are cut alike."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SPAN, numbered

from bertwright.errors import RecipeError
from bertwright.flow import Document
from bertwright.tasks.ssp import SameSentence

FIXED = settings(max_examples=80, deadline=None, derandomize=True)
SHAPES = st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=12), min_size=2, max_size=4)
Pair = tuple[np.ndarray, np.ndarray, int]


def pairs_of(document: Document, seed: int = 0, **settings: float) -> list[Pair]:
    return list(SameSentence(**settings).pairs(document, np.random.default_rng(seed)))  # type: ignore[arg-type]


def home(segment: np.ndarray) -> int:
    (number,) = {*(segment // SPAN).tolist()}
    return number


@FIXED
@given(SHAPES, st.integers(8, 64), st.integers(0, 99))
def test_pairs_are_what_their_labels_say(shapes: list[list[int]], length: int, seed: int) -> None:
    for number, document in enumerate(numbered(shapes, length), 1):
        for first, second, label in pairs_of(document, seed):
            assert min(len(first), len(second)) >= 1
            assert len(first) + len(second) <= length - 3
            assert (np.diff(first) == 1).all()
            assert (np.diff(second) == 1).all()
            assert label == int(home(first) == home(second))
            if label:
                assert first[-1] < second[0]
            else:
                assert number in (home(first), home(second))


@FIXED
@given(SHAPES, st.integers(8, 64), st.integers(0, 99))
def test_first_halves_begin_with_a_sentence(shapes: list[list[int]], length: int, seed: int) -> None:
    starts = [n * SPAN + start for n, shape in enumerate(shapes, 1) for start in np.cumsum([0, *shape]).tolist()]
    for document in numbered(shapes, length):
        assert all(first[0] in starts for first, _, _ in pairs_of(document, seed))


def test_each_of_the_four_ways_is_as_likely() -> None:
    document, _ = numbered([[20] * 12_000, [21] * 4000], 64)
    ways = Counter((home(first), home(second)) for first, second, _ in pairs_of(document))
    assert all(ways[way] == pytest.approx(3000, abs=200) for way in ((1, 1), (1, 2), (2, 1), (2, 2)))


def test_a_sentence_is_cut_in_the_middle() -> None:
    document, _ = numbered([[20, 31, 12], [3]], 64)
    assert [(len(first), len(second)) for first, second, _ in pairs_of(document, random=0.0)] == [
        (10, 10),
        (15, 16),
        (6, 6),
    ]
    for first, second, label in pairs_of(document, random=1.0):
        assert label == 0
        assert (len(first), len(second)) in ((1, 10), (1, 16), (1, 6), (1, 2))  # the other document has three tokens


def test_short_sentences_go_together() -> None:
    document, _ = numbered([[3] * 100, [3] * 100], 64)
    made = pairs_of(document, shortest=5)
    assert len(made) == 25
    assert {len(first) + len(second) for first, second, _ in made} == {12}
    assert len(pairs_of(document, shortest=1)) == 100


def test_a_long_sentence_ends_with_the_length() -> None:
    document, _ = numbered([[500], [400]], 43)
    (pair,) = pairs_of(document)
    assert (len(pair[0]), len(pair[1])) == (20, 20)


def test_a_single_token_elsewhere_has_no_halves() -> None:
    alone, _ = numbered([(12,), (1,)], 24)
    assert not list(SameSentence().pairs(alone, np.random.default_rng(1)))
    document, *_ = numbered([(12, 12, 12), (1,), (9,)], 24)
    for seed in range(40):
        for first, second, _ in SameSentence().pairs(document, np.random.default_rng(seed)):
            assert not set(first) & set(second)


def test_a_number_of_tokens_that_is_none() -> None:
    with pytest.raises(RecipeError, match=r"ssp\.shortest is a number of tokens of at least 1, not 0"):
        SameSentence(shortest=0)
