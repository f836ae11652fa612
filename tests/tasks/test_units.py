"""Masked LM on whole words and spans: what is hidden together, and that the share comes out as asked."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, vocabulary
from small_tokenizers import KINDS, TEXTS, made

from bertwright.data.pack import pack
from bertwright.errors import RecipeError
from bertwright.flow import Batch, Example, Vocabulary
from bertwright.seeds import generator
from bertwright.tasks.mlm import MaskedLM, number_of
from bertwright.tasks.nsp import NextSentence
from bertwright.tasks.units import UNITS, words_of
from bertwright.text.tokenizer import Tokenizer

FIXED = settings(max_examples=100, deadline=None, derandomize=True)
SIZE = 400
every_unit = pytest.mark.parametrize("unit", ["word", "span"])
LENGTHS = st.lists(st.integers(1, 9), max_size=40)
"""The lengths of the words of a sequence."""


def own() -> Vocabulary:
    """Ids from 200 on go on with the word before them."""
    return replace(vocabulary(SIZE), begins_word=lambda ids: ids < 200)


def sequence(lengths: list[int], key: int, special: int = 0) -> Example:
    """Words of those lengths in [CLS] and [SEP], with an unknown token after every `special` words."""
    draw = generator("units", key)
    ids: list[int] = []
    for number, length in enumerate(lengths, 1):
        ids += [int(draw.integers(5, 200)), *draw.integers(200, SIZE, length - 1).tolist()]
        ids += [1] if special and number % special == 0 else []
    example = own().single(np.array(ids, np.int64))
    return Example(ids=example.ids, segments=example.segments, key=key)


def hidden(batch: Batch) -> np.ndarray:
    """[N] bool"""
    found = np.zeros(batch.tokens, bool)
    found[batch.labels["mlm"].positions.numpy()] = True
    return found


def by_sequence(batch: Batch, values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.cumsum(batch.lengths)[:-1])


@every_unit
@FIXED
@given(st.lists(LENGTHS, min_size=1, max_size=6), st.floats(0.02, 0.9), st.integers(0, 5))
def test_words_are_hidden_whole(unit: str, sequences: list[list[int]], rate: float, special: int) -> None:
    group = [sequence(lengths, key, special) for key, lengths in enumerate(sequences)]
    before, batch = pack(group, own()), batch_of(MaskedLM(rate=rate, unit=unit), group, own(), 1)
    ids, chosen = before.ids.numpy(), hidden(batch)
    words = words_of(ids, np.array(batch.lengths), own())
    of_word = np.split(chosen, words.starts[1:])
    assert all(one.all() or not one.any() for one in of_word)
    assert not chosen[np.isin(ids, own().special)].any()
    assert torch.equal(batch.labels["mlm"].values, before.ids[batch.labels["mlm"].positions])
    assert chosen[batch.ids.numpy() != ids].all()
    for lengths, one, all_ids in zip(sequences, by_sequence(batch, chosen), by_sequence(batch, ids), strict=True):
        ordinary = int((~np.isin(all_ids, own().special)).sum())
        wanted = float(number_of(rate, np.array([ordinary]))[0])
        assert abs(one.sum() - wanted) < max([*lengths, 1])


@every_unit
def test_the_share_is_exact_on_the_average_for_words_of_any_length(unit: str) -> None:
    draw = generator("share")
    for most in (3, 30):
        group = [sequence(draw.integers(1, 9, draw.integers(1, most)).tolist(), key) for key in range(5000)]
        batch = batch_of(MaskedLM(unit=unit), group, own(), 1)
        wanted = number_of(0.15, np.array([len(example) - 2 for example in group]))
        found = np.array([one.sum() for one in by_sequence(batch, hidden(batch))])
        assert found.sum() / wanted.sum() == pytest.approx(1, abs=0.05 if most == 3 else 0.015)


@every_unit
def test_long_words_are_as_likely_as_short_ones(unit: str) -> None:
    draw = generator("likely")
    group = [sequence(draw.integers(1, 7, 40).tolist(), key) for key in range(3000)]
    batch = batch_of(MaskedLM(unit=unit), group, own(), 1)
    words = words_of(pack(group, own()).ids.numpy(), np.array(batch.lengths), own())
    taken = hidden(batch)[words.starts]
    for size in range(1, 7):
        assert taken[words.free & (words.sizes == size)].mean() == pytest.approx(0.15, abs=0.012), size


def test_where_each_token_is_a_word_nothing_changes() -> None:
    group = [sequence([1] * 50, key) for key in range(50)]
    tokens, words = (batch_of(MaskedLM(unit=unit), group, vocabulary(SIZE), 1) for unit in ("token", "word"))
    assert torch.equal(tokens.ids, words.ids)
    assert torch.equal(tokens.labels["mlm"].positions, words.labels["mlm"].positions)


@every_unit
def test_it_does_not_depend_on_the_company(unit: str) -> None:
    group = [sequence([1, 3, 2, 5, 1] * (key + 1), key) for key in range(5)]
    together = batch_of(MaskedLM(unit=unit), group[::-1], own(), 1)
    alone = [batch_of(MaskedLM(unit=unit), [example], own(), 1) for example in group[::-1]]
    assert torch.equal(together.ids, torch.cat([one.ids for one in alone]))


def spans(batch: Batch) -> list[tuple[int, int]]:
    """Where each run of hidden tokens begins and ends."""
    edges = np.flatnonzero(np.diff(hidden(batch).astype(int), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_spans_have_the_lengths_of_spanbert() -> None:
    """At a low rate runs seldom touch: their lengths are geometric, cut at ten, of mean 3.8."""
    group = [sequence([1] * 4000, key) for key in range(80)]
    batch = batch_of(MaskedLM(rate=0.02, unit="span"), group, own(), 1)
    lengths = np.bincount([end - begin for begin, end in spans(batch)], minlength=12)[1:11]
    expected = 0.2 * 0.8 ** np.arange(10)
    assert np.arange(1, 11) @ lengths / lengths.sum() == pytest.approx(3.8, abs=0.2)
    assert lengths[0] / lengths[1] == pytest.approx(1.25, abs=0.3)
    assert np.corrcoef(lengths, expected)[0, 1] > 0.97


def test_every_place_is_about_as_likely_in_spans() -> None:
    """A little more so at either end of a sequence, where a span ends too."""
    group = [sequence([1] * 100, key) for key in range(3000)]
    chosen = hidden(batch_of(MaskedLM(unit="span"), group, own(), 1)).reshape(-1, 102)[:, 1:-1].mean(0)
    assert chosen.mean() == pytest.approx(0.15, abs=0.001)
    assert np.abs(chosen[5:-5] - 0.15).max() < 0.025
    assert np.abs(chosen - 0.15).max() < 0.05


def test_a_span_is_replaced_as_one_and_words_token_by_token() -> None:
    group = [sequence([2] * 100, key) for key in range(300)]
    before = pack(group, own()).ids
    for unit, together in (("span", True), ("word", False)):
        batch = batch_of(MaskedLM(rate=0.03, unit=unit), group, own(), 1)
        masks = (batch.ids == own().mask).numpy()
        firsts = words_of(before.numpy(), np.array(batch.lengths), own())
        pairs = [(masks[at], masks[at + 1]) for at, size in zip(firsts.starts, firsts.sizes, strict=True) if size == 2]
        chosen = [pair for pair, at in zip(pairs, firsts.starts[firsts.sizes == 2], strict=True) if hidden(batch)[at]]
        assert np.mean(chosen) == pytest.approx(0.8, abs=0.04)
        assert all(one == other for one, other in chosen) is together


@cache
def tokenizer(kind: str) -> Tokenizer:
    theirs = made(kind, vocab_size=704)
    return Tokenizer(theirs.backend_tokenizer, theirs.special_tokens_map)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", TEXTS)
def test_the_share_comes_out_in_every_script(unit: str, kind: str, script: str) -> None:
    """Within half a point over many sequences, and of each one within what its longest word allows."""
    vocabulary = tokenizer(kind).vocabulary
    ids = np.tile(tokenizer(kind).encode(TEXTS[script]), 4)
    assert len(ids) > 130
    draw = generator("scripts", script)
    group = []
    for key in range(800):
        begin = int(draw.integers(30))
        group.append(replace(vocabulary.single(ids[begin : begin + 100]), key=key))
    batch, before = batch_of(MaskedLM(unit=unit), group, vocabulary, 1), pack(group, vocabulary).ids.numpy()
    chosen, ordinary = hidden(batch), ~np.isin(before, vocabulary.special)
    assert chosen.sum() / ordinary.sum() == pytest.approx(0.15, abs=0.005)
    words = words_of(before, np.array(batch.lengths), vocabulary)
    longest = np.ones(len(group), np.int64)
    if unit != "token":
        np.maximum.at(longest, words.sequence, words.sizes * words.free)
    for most, tokens, one in zip(longest, by_sequence(batch, ordinary), by_sequence(batch, chosen), strict=True):
        assert abs(one.sum() - number_of(0.15, np.array([tokens.sum()]))[0]) < most


def test_what_is_held_out_is_hidden_token_by_token() -> None:
    assert MaskedLM(unit="span", rate=0.3).judging() == MaskedLM()
    assert (MaskedLM(unit="word") + NextSentence()).judging().parts[0] == MaskedLM()


def test_an_unknown_unit() -> None:
    with pytest.raises(RecipeError, match=r"mlm\.unit is token, word or span, not 'words'"):
        MaskedLM(unit="words")
