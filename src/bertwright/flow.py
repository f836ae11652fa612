"""What flows through a run: documents and rows in, examples, a batch, a loss out.

Letters in shape comments: N tokens of a batch, S sequences, M labelled positions, R positions that a head reads,
H width of the encoder, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
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
    locate: Callable[[str], tuple[np.ndarray, np.ndarray]]
    """The same ids [n], and between which characters of the text each of them stands [n, 2]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sequence, special tokens included, with what the task that cut it knows of it.

    Or several: what is weighed against each other, as the endings of a choice are, has to meet in one forward pass.
    """

    ids: np.ndarray
    segments: np.ndarray
    labels: Mapping[str, Any] = field(default_factory=dict)
    key: int = 0
    """Which example this is, for every draw that concerns it; given by the plan."""
    lengths: tuple[int, ...] = ()
    """Those of its sequences, which stand end to end in `ids`; (): it is a single one."""

    @classmethod
    def joined(cls, parts: Sequence[Example], labels: Mapping[str, Any]) -> Example:
        """One example of the sequences of all parts, with labels and the first one's key."""
        return cls(
            ids=np.concatenate([part.ids for part in parts]),
            segments=np.concatenate([part.segments for part in parts]),
            labels=labels,
            key=parts[0].key,
            lengths=tuple(length for part in parts for length in part.lengths or (len(part),)),
        )

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
    draws: Mapping[str, Tensor] = field(default_factory=dict)
    """What the host drew, by each example's own key, for what only the device can decide."""
    sizes: tuple[int, ...] = ()
    """How many sequences each of its examples has, known on the host; (): one each."""
    padding: int = 0
    """How many sequences at the end are there to make up a number of tokens: nothing reads them."""
    causal: Tensor | None = None
    """[N] bool: which tokens are of sequences that are read from left to right, each token seeing none behind it;
    None: no token is."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def indices(self) -> Tensor:
        """[N] where each token stands in the batch."""
        return torch.arange(self.tokens, device=self.ids.device)

    @property
    def firsts(self) -> Tensor:
        """[S] where each sequence begins."""
        return self.cu_seqlens[:-1]

    def sequences_of(self, positions: Tensor) -> Tensor:
        """[M] which of the S sequences each of the tokens at `positions` [M] is of."""
        return torch.searchsorted(self.cu_seqlens, positions.to(self.cu_seqlens.dtype), right=True) - 1

    @property
    def examples(self) -> list[range]:
        """Which of the S sequences each example has."""
        ends = [*accumulate(self.sizes or (1,) * len(self))]
        return [range(start, end) for start, end in pairwise([0, *ends])]

    @property
    def counts(self) -> dict[str, int]:
        """How many predictions each loss sums over."""
        return {name: len(labels.positions) for name, labels in self.labels.items()}

    def labelled(self, name: str, positions: Tensor, values: Tensor) -> Batch:
        """The batch with one more kind of prediction, made from the vectors at `positions` [M]."""
        return replace(self.reading(positions), labels={**self.labels, name: Labels(positions, values)})

    def reading(self, positions: Tensor) -> Batch:
        """The batch of whose tokens a head also reads those at `positions` [M].

        At least one token is read, so that no kernel meets an empty tensor.
        """
        if self.reads is None and self.labels:
            return self
        covered = positions if self.reads is None else torch.cat((self.reads, positions))
        return replace(self, reads=torch.unique(covered if len(covered) else self.firsts[:1]))

    def only(self, name: str) -> Batch:
        """The batch with the predictions `name` alone, whose positions ascend."""
        positions = self.labels[name].positions
        reads = positions if len(positions) else self.firsts[:1]
        return replace(self, labels={name: self.labels[name]}, reads=reads)

    def with_ids(self, ids: Tensor) -> Batch:
        """The batch with other input ids [N]."""
        return replace(self, ids=ids)

    def with_draws(self, **draws: Tensor) -> Batch:
        """The batch with more draws."""
        return replace(self, draws={**self.draws, **draws})

    def rows(self, name: str) -> Tensor:
        """[M] where the encoder's output holds the vectors that the predictions `name` are made from."""
        return self.rows_at(self.labels[name].positions)

    def rows_at(self, positions: Tensor) -> Tensor:
        """[M] where the encoder's output holds the vectors of the tokens at `positions` [M], which some head reads."""
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
            draws={name: change(drawn) for name, drawn in self.draws.items()},
            causal=None if self.causal is None else change(self.causal),
        )


class Loss(NamedTuple):
    """What a task makes of a batch. Everything is a sum: it adds over micro-batches and ranks."""

    totals: Mapping[str, Tensor]
    """Summed losses, one a name of `Batch.counts`, with gradient."""
    measures: Mapping[str, Tensor]
    """Summable measures without gradient, for `Task.report`."""
