"""What masked LM hides together: whole words, or spans of them; and how many of them make an exact share of tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..flow import Vocabulary

UNITS = ("token", "word", "span")
LONGEST_SPAN = 10
_GEOMETRIC = 0.2 * 0.8 ** np.arange(LONGEST_SPAN)
_AT_MOST = np.cumsum(_GEOMETRIC / _GEOMETRIC.sum())[:-1]
"""The shares of spans of at most 1, 2 ... 9 words."""


class Words(NamedTuple):
    """The words of sequences laid end to end."""

    starts: np.ndarray
    """[W] the token that each begins at."""
    sizes: np.ndarray
    """[W] tokens."""
    sequence: np.ndarray
    """[W]"""
    free: np.ndarray
    """[W] bool: no special token."""


def words_of(ids: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary) -> Words:
    """The words of [N] ids; what is left of one that a border of sequences cuts is a word."""
    begins = vocabulary.begins_word(ids)
    begins[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    starts = np.flatnonzero(begins)
    sequence = np.repeat(np.arange(len(lengths)), lengths)[starts]
    sizes = np.diff(starts, append=len(ids))
    return Words(starts, sizes, sequence, ~np.isin(ids[starts], vocabulary.special))


def spans_of(words: Words, draws: np.ndarray) -> np.ndarray:
    """[W] the first word of the span that each word is in.

    Each sequence is cut into spans of 1 to 10 words, their number geometric with p = 0.2 (Joshi et al., "SpanBERT",
    TACL 2020); a special token cuts one short. `draws` [W] in [0, 1).
    """
    firsts = np.flatnonzero(np.diff(words.sequence, prepend=-1))
    number = np.diff(firsts, append=len(words.starts))
    lengths = np.searchsorted(_AT_MOST, draws, side="right") + 1
    before = np.cumsum(lengths) - lengths
    within = before - np.repeat(before[firsts], number)
    begins = ~words.free
    begins[1:] |= begins[:-1]
    begins[(within + np.repeat(firsts, number))[within < np.repeat(number, number)]] = True
    return np.maximum.accumulate(np.where(begins, np.arange(len(begins)), 0))


def choose_words(words: Words, wanted: np.ndarray, order: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """[W] bool: which words are hidden, so that each sequence has `wanted` [S] tokens hidden on the average.

    In each sequence the ordinary words are taken by their `order` [W], equal ones from left to right. The first one
    that does not fit is taken with the probability that makes the expected number of tokens exact, by `rounding` [S] in
    [0, 1); so a sequence is off by less than its longest word, and words are not disfavoured for being long.
    """
    ranked = np.lexsort((np.where(words.free, order, 2.0), words.sequence))
    sizes, sequence = words.sizes[ranked] * words.free[ranked], words.sequence[ranked]
    before = np.cumsum(sizes) - sizes
    begun = np.searchsorted(sequence, np.arange(len(wanted)))
    before = before - np.append(before, 0)[begun][sequence]
    left = (wanted[sequence] - before).astype(np.float64)
    fits = words.free[ranked] & (left > 0) & (rounding[sequence] * sizes < left)
    taken = np.zeros(len(ranked), bool)
    taken[ranked] = fits
    return taken
