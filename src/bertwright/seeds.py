"""Keyed randomness: every draw is a function of its key, so nothing has a state to save.

A key is a list of words such as `(seed, "mask", epoch, item)`. Small draws come from a Philox generator (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011) made for the key; draws for every token of a batch come from a
vectorised mixer (the finaliser of SplitMix64, Steele et al., OOPSLA 2014), which costs nanoseconds a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from .flow import Example

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key_of(*words: int | str) -> int:
    """A 64-bit key for a list of words; the same words give the same key on every machine."""
    return int.from_bytes(blake2b(repr(words).encode(), digest_size=8).digest(), "little")


def generator(*words: int | str) -> np.random.Generator:
    """A generator of its own for a list of words."""
    return np.random.Generator(np.random.Philox(_Keyed(key_of(*words))))  # type: ignore[arg-type]


class _Keyed(ISeedSequence):
    """The state of `Philox(key=...)`, which draws entropy of the system first, three times the price of the rest."""

    def __init__(self, key: int) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.array((self._key, 0), np.uint64)


def mixed(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser over uint64 `keys`: neighbours come out unrelated."""
    with np.errstate(over="ignore"):
        x = keys + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
        return x ^ (x >> np.uint64(31))


class Draws:
    """Draws for the examples of a batch, each a function of the run's words and of the example's own key.

    Which micro-batch or rank an example lands in does not change what is drawn for it.
    """

    def __init__(self, *words: int | str) -> None:
        self._words = words

    def uniform(self, purpose: str, keys: Sequence[int], lengths: Sequence[int]) -> np.ndarray:
        """[N] numbers in [0, 1), `lengths[i]` of them for the example with `keys[i]`, end to end."""
        purposed = np.array(keys, np.uint64) ^ np.uint64(key_of(*self._words, purpose))
        sizes = np.asarray(lengths, np.int64)
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        within = (np.arange(sizes.sum()) - starts).astype(np.uint64)
        with np.errstate(over="ignore"):
            bits = mixed(np.repeat(mixed(purposed), sizes) + within * _GOLDEN)
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def of_tokens(self, purpose: str, examples: Sequence[Example]) -> np.ndarray:
        """[N] such numbers, one a token."""
        return self.uniform(purpose, [one.key for one in examples], [*map(len, examples)])

    def of_sequences(self, purpose: str, examples: Sequence[Example]) -> np.ndarray:
        """[S] such numbers, one a sequence, of which an example may have several."""
        return self.uniform(purpose, [one.key for one in examples], [len(one.lengths) or 1 for one in examples])
