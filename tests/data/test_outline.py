from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertwright.data.outline import decode, encode

LENGTHS = st.one_of(st.integers(1, 600), st.sampled_from([253, 254, 255, 256, 508, 509, 510, 70_000]))


def decoded(outline: bytes) -> list[list[int]]:
    bounds = decode(np.frombuffer(outline, np.uint8))
    lengths = np.diff(bounds.tokens).tolist()
    return [lengths[begin:end] for begin, end in zip(bounds.sentences, bounds.sentences[1:], strict=False)]


@given(st.lists(st.lists(LENGTHS, max_size=20), max_size=10))
def test_every_length_comes_back(documents: list[list[int]]) -> None:
    assert decoded(b"".join(encode(np.array(lengths)) for lengths in documents)) == documents


@pytest.mark.parametrize(
    ("length", "spelling"),
    [
        (1, [1]),
        (253, [253]),
        (254, [254]),
        (255, [255, 1]),
        (256, [255, 2]),
        (508, [255, 254]),
        (509, [255, 255, 1]),
        (510, [255, 255, 2]),
        (70_000, [255] * 275 + [150]),
    ],
)
def test_each_length_has_one_spelling(length: int, spelling: list[int]) -> None:
    assert list(encode(np.array([length]))) == [*spelling, 0]


def test_a_document_without_sentences_is_its_end() -> None:
    assert encode(np.array([], np.int64)) == b"\0"


@pytest.mark.parametrize("lengths", [[0], [3, 0, 2], [-1]])
def test_a_sentence_without_tokens_is_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        encode(np.array(lengths))
