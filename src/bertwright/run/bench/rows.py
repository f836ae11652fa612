"""The rows that transformers' Trainer is given: lines that are padded, or blocks that the text is cut into.

Both come from the store's ids, in memory, so that neither reading nor tokenizing costs the Trainer anything.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...data.store import TokenStore
from ...errors import InputError
from ...flow import Vocabulary
from ...seeds import generator

MOST_TOKENS = 4_000_000
"""What is taken of a larger store: more than a comparison comes through."""


class Rows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """A list of rows of `length` ids, with what is padding in them and what is a special token."""

    def __init__(self, store: TokenStore, length: int) -> None:
        self._length = length
        self._vocabulary = store.vocabulary
        self._special = np.array(store.vocabulary.special)
        pieces = list(self.pieces(store, length))
        self._ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        self._ids = self._ids.astype(np.min_scalar_type(store.vocab_size))
        self._ends = np.cumsum([0, *map(len, pieces)])

    @abstractmethod
    def pieces(self, store: TokenStore, length: int) -> Iterator[np.ndarray]:
        """The ids of each row, at most `length`."""

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        ids = self._ids[self._ends[at] : self._ends[at + 1]]
        row = np.full(self._length, self._vocabulary.pad)
        row[: len(ids)] = ids
        return {
            "input_ids": row.tolist(),
            "attention_mask": [1] * len(ids) + [0] * (self._length - len(ids)),
            "special_tokens_mask": np.isin(row, self._special).astype(int).tolist(),
        }


class Lines(Rows):
    """A sentence a row, cut and padded to the length: `LineByLineTextDataset`, `run_mlm --line_by_line`."""

    def pieces(self, store: TokenStore, length: int) -> Iterator[np.ndarray]:
        for sentences in _documents(store):
            for sentence in sentences:
                yield _framed(sentence[: length - 2], store.vocabulary)


class Grouped(Rows):
    """Documents end to end, cut into blocks of the length whatever is in them, as `run_mlm` does by default."""

    def pieces(self, store: TokenStore, length: int) -> Iterator[np.ndarray]:
        left = np.zeros(0, np.int64)
        for sentences in _documents(store):
            left = np.concatenate([left, _framed(np.concatenate(list(sentences)), store.vocabulary)])
            whole = len(left) // length * length
            yield from left[:whole].reshape(-1, length)
            left = left[whole:]


def _documents(store: TokenStore) -> Iterator[Sequence[np.ndarray]]:
    """The sentences of training documents in a drawn order, until there are tokens enough."""
    taken = 0
    for at in generator("bench", "documents").permutation(len(store.train)):
        sentences = store.train.sentences(int(at))
        if len(sentences):
            yield sentences
        taken += sum(map(len, sentences))
        if taken > MOST_TOKENS:
            return


def _framed(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    return np.concatenate(([vocabulary.cls], ids, [vocabulary.sep]))


def refuse_too_few(rows: int, batch_size: int, length: int) -> None:
    """Raises InputError where the text does not fill a single batch."""
    if rows < batch_size:
        raise InputError(
            f"the text is too small: {rows} rows of {length} tokens, and a batch has {batch_size}; "
            "give more text or a smaller --length"
        )
