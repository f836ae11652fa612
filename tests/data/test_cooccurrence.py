"""Counts of tokens and of what stands beside them, against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import runs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.data import cooccurrence
from bertwright.data.cooccurrence import WINDOW, count, sample
from bertwright.data.store import TokenStore

VOCABULARY = 12
stretches = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=40), max_size=4)


def by_hand(texts: list[list[int]]) -> np.ndarray:
    """[V, V] of every pair at most WINDOW apart."""
    pairs = np.zeros((VOCABULARY, VOCABULARY))
    for ids in texts:
        for i, j in ((i, j) for i in range(len(ids)) for j in range(len(ids)) if 0 < abs(i - j) <= WINDOW):
            pairs[ids[i], ids[j]] += 1 / abs(i - j)
    return pairs


@given(texts=stretches)
def test_neighbours_are_those_counted_by_hand(texts: list[list[int]]) -> None:
    found = count([np.array(ids, np.int64) for ids in texts], VOCABULARY)
    occur = Counter(i for ids in texts for i in ids)
    assert found.tokens.tolist() == [occur[i] for i in range(VOCABULARY)]
    by_frequency = sorted(range(VOCABULARY), key=lambda i: -occur[i])
    assert torch.allclose(found.beside.double(), torch.from_numpy(by_hand(texts)[:, by_frequency]), atol=1e-4)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(texts=stretches, contexts=st.integers(1, VOCABULARY))
def test_fewer_contexts_are_the_commonest(texts: list[list[int]], contexts: int) -> None:
    ids = [np.array(one, np.int64) for one in texts]
    assert torch.equal(count(ids, VOCABULARY, contexts).beside, count(ids, VOCABULARY).beside[:, :contexts])


def test_a_large_vocabulary_is_counted_beside_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooccurrence, "CELLS", 5 * VOCABULARY + 3)
    assert count([np.arange(VOCABULARY)], VOCABULARY).beside.shape == (VOCABULARY, 5)


def test_a_sample_is_from_all_over_the_text(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = TokenStore(runs.store(tmp_path_factory.getbasetemp())).train
    whole = part.stretch(0, part.tokens)
    assert np.array_equal(np.concatenate(sample(part)), whole)
    monkeypatch.setattr(cooccurrence, "_STRETCH", part.tokens // 10)
    tenths = sample(part, part.tokens // 2)
    assert part.tokens // 2 - len(tenths) <= sum(map(len, tenths)) <= part.tokens // 2
    places = [int(x) for x in np.linspace(0, part.tokens, len(tenths) + 1)]
    for ids, place in zip(tenths, places, strict=False):
        assert np.array_equal(ids, whole[place:][: len(ids)])
