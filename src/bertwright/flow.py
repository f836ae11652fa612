"""What flows through a run: documents and rows in, examples, a batch, a loss out.

Letters in shape comments: N tokens of a batch, S sequences, M labelled positions, R positions that a head reads,
H width of the encoder, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


def every_token(ids: np.ndarray) -> np.ndarray:
    """[N] ids -> [N] bool: each token a word."""
    return np.ones(len(ids), bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What cutting and hiding need to know of a tokenizer: its size, its special tokens, and where words begin."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int
    unk: int
    special: tuple[int, ...]
    begins_word: Callable[[np.ndarray], np.ndarray] = field(default=every_token, compare=False, repr=False)
    """[N] ids -> [N] bool: at which tokens a word begins; special tokens are words of their own."""

    def single(self, ids: np.ndarray) -> Example:
        """`[CLS] ids [SEP]` as one example."""
        framed = np.concatenate(([self.cls], ids, [self.sep]))
        return Example(ids=framed, segments=np.zeros(len(framed), np.int64))

    def pair(self, first: np.ndarray, second: np.ndarray, **labels: Any) -> Example:
        """`[CLS] first [SEP] second [SEP]` as one example of two segments."""
        framed = np.concatenate(([self.cls], first, [self.sep], second, [self.sep]))
        segments = np.zeros(len(framed), np.int64)
        segments[len(first) + 2 :] = 1
        return Example(ids=framed, segments=segments, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document of a corpus: its sentences as token ids, without special tokens."""

    sentences: Sequence[np.ndarray]
    vocabulary: Vocabulary
    length: int
    """The longest sequence that may be cut from it, special tokens included."""
    elsewhere: Callable[[np.random.Generator], tuple[Sequence[np.ndarray], int]]
    """Draws a token of the other documents: the sentences of the one that it is in, and which of them that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a labelled file."""

    fields: Mapping[str, Any]
    vocabulary: Vocabulary
    length: int
    """The longest sequence that may be cut from it, special tokens included."""
    encode: Callable[[str], np.ndarray]
    """Text to token ids, without special tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sequence, special tokens included, with what the task that cut it knows of it."""

    ids: np.ndarray
    segments: np.ndarray
    labels: Mapping[str, Any] = field(default_factory=dict)
    key: int = 0
    """Which example this is, for every draw that concerns it; given by the plan."""

    def __len__(self) -> int:
        return len(self.ids)


class Labels(NamedTuple):
    """Predictions asked of a batch: at which tokens, and what is right there."""

    positions: Tensor
    """[M] indices into the batch's N tokens."""
    values: Tensor
    """[M] or [M, ...]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sequences laid end to end: no padding, `cu_seqlens` says where each begins."""

    ids: Tensor
    """[N]"""
    positions: Tensor
    """[N] restarting at 0 in each sequence"""
    segments: Tensor
    """[N] first or second segment"""
    cu_seqlens: Tensor
    """[S+1]"""
    lengths: tuple[int, ...]
    """The S lengths, known on the host."""
    vocabulary: Vocabulary
    labels: Mapping[str, Labels] = field(default_factory=dict)
    reads: Tensor | None = None
    """[R] the tokens whose vectors some head reads, ascending; None: all of them."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def firsts(self) -> Tensor:
        """[S] where each sequence begins."""
        return self.cu_seqlens[:-1]

    @property
    def counts(self) -> dict[str, int]:
        """How many predictions each loss sums over."""
        return {name: len(labels.positions) for name, labels in self.labels.items()}

    def labelled(self, name: str, positions: Tensor, values: Tensor) -> Batch:
        """The batch with one more kind of prediction; what heads read grows to cover `positions` [M].

        At least one token is read, so that no kernel meets an empty tensor.
        """
        covered = positions if not self.labels or self.reads is None else torch.cat((self.reads, positions))
        covered = covered if len(covered) else self.firsts[:1]
        reads = None if self.labels and self.reads is None else torch.unique(covered)
        return replace(self, labels={**self.labels, name: Labels(positions, values)}, reads=reads)

    def with_ids(self, ids: Tensor) -> Batch:
        """The batch with other input ids [N]."""
        return replace(self, ids=ids)

    def rows(self, name: str) -> Tensor:
        """[M] where the encoder's output holds the vectors that the predictions `name` are made from."""
        positions = self.labels[name].positions
        return positions if self.reads is None else torch.searchsorted(self.reads, positions)

    def to(self, device: torch.device) -> Batch:
        return self.mapped(lambda x: x.to(device, non_blocking=True))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor replaced by what `change` makes of it."""
        return replace(
            self,
            ids=change(self.ids),
            positions=change(self.positions),
            segments=change(self.segments),
            cu_seqlens=change(self.cu_seqlens),
            labels={name: Labels(change(at), change(values)) for name, (at, values) in self.labels.items()},
            reads=None if self.reads is None else change(self.reads),
        )


class Loss(NamedTuple):
    """What a task makes of a batch. Everything is a sum: it adds over micro-batches and ranks."""

    totals: Mapping[str, Tensor]
    """Summed losses, one a name of `Batch.counts`, with gradient."""
    measures: Mapping[str, Tensor]
    """Summable measures without gradient, for `Task.report`."""
