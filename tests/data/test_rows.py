"""Labelled files as a sequence of rows."""

from __future__ import annotations

import numpy as np
import pytest
from samples import tokenizer

from bertwright.data.rows import Rows

FIELDS = [{"text": f"the {word}", "label": number} for number, word in enumerate("boat garden ветер 船 sun".split())]


@pytest.fixture
def rows() -> Rows:
    return Rows(iter(FIELDS), tokenizer(), 24)


def test_rows_are_a_sequence(rows: Rows) -> None:
    assert len(rows) == 5
    assert [row.fields for row in rows] == FIELDS
    assert rows[-1].fields == FIELDS[-1]
    with pytest.raises(IndexError):
        rows[5]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, 2), slice(10, 20), slice(-2, None)])
def test_a_slice_is_rows_again(rows: Rows, part: slice) -> None:
    some = rows[part]
    assert isinstance(some, Rows)
    assert [row.fields for row in some] == FIELDS[part]
    assert all(row.length == 24 for row in some)


def test_a_row_encodes_as_the_tokenizer_does(rows: Rows) -> None:
    own = tokenizer()
    for row in rows:
        assert row.vocabulary == own.vocabulary
        ids = row.encode(row.fields["text"])
        np.testing.assert_array_equal(ids, own.encode(row.fields["text"]))
        assert own.vocabulary.unk not in ids
    assert not set(rows[0].encode("[MASK] [SEP] boat")) & {own.vocabulary.mask, own.vocabulary.sep}
    assert len(rows[0].encode("")) == 0
