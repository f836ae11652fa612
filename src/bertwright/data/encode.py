"""From the spool of sentences to the two parts of a store."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from itertools import islice
from typing import final

import numpy as np

from ..text.sentences import WITHOUT_SPACES
from ..text.tokenizer import Tokenizer
from .spool import Report, Spool, SpooledDocument
from .writer import PartWriter

_SAMPLES = 5
_WORD = re.compile(r"[^\W\d_]{6,}")


@dataclass(slots=True)
class Counts:
    """What a part of a store holds."""

    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    words: int = 0
    """What stands between spaces; characters in languages without spaces."""
    bytes: int = 0
    """UTF-8 of the sentences."""
    unknown: int = 0
    """Tokens that are [UNK]."""
    without_tokens: int = 0
    """Documents left out because the tokenizer finds nothing in them."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@final
class Encoder:
    """Writes documents to the parts; `counts` and `samples` tell what went by."""

    def __init__(self, tokenizer: Tokenizer, parts: dict[str, PartWriter], language: str) -> None:
        self.counts = {name: Counts() for name in parts}
        self._parts = parts
        self._tokenizer = tokenizer
        self._spaced = language not in WITHOUT_SPACES
        self._words: Counter[str] | None = None

    def encode(self, spool: Spool, heldout: np.ndarray, report: Report) -> None:
        """All documents of the spool; `heldout` [documents] bool says which part each goes to."""
        for batch in spool.batches(np.ones(len(heldout), bool)):
            encoded = iter(self._tokenizer.encode_batch([s for document in batch for s in document.sentences]))
            for document in batch:
                ids = list(islice(encoded, len(document.sentences)))
                self._add("heldout" if heldout[document.number] else "train", document, ids)
            self._words = self._words or Counter(word for d in batch for s in d.sentences for word in self._split(s))
            report(batch[-1].end, spool.bytes)

    def _add(self, name: str, document: SpooledDocument, encoded: list[np.ndarray]) -> None:
        counts = self.counts[name]
        ids = [sentence for sentence in encoded if len(sentence)]
        if not ids:
            counts.without_tokens += 1
            return
        joined = np.concatenate(ids)
        self._parts[name].add(joined, np.array([len(sentence) for sentence in ids]))
        counts.documents += 1
        counts.sentences += len(ids)
        counts.tokens += len(joined)
        counts.bytes += sum(len(sentence.encode()) + 1 for sentence in document.sentences)
        counts.unknown += int((joined == self._tokenizer.vocabulary.unk).sum())
        spaces = sum(sentence.count(" ") for sentence in document.sentences)
        characters = sum(map(len, document.sentences))
        counts.words += spaces + len(document.sentences) if self._spaced else characters - spaces

    def _split(self, sentence: str) -> list[str]:
        return _WORD.findall(sentence) if self._spaced else [sentence[:12]] if len(sentence) > 8 else []

    def samples(self) -> dict[str, list[str]]:
        """A few of the commonest longer words that are not entries of the vocabulary, with their pieces.

        In a language without spaces, beginnings of sentences.
        """
        words = (word for word, _ in (self._words or Counter()).most_common(5000))
        cut = ((word, [self._tokenizer.token(i) for i in self._tokenizer.encode(word)]) for word in words)
        return dict(islice(((word, pieces) for word, pieces in cut if len(pieces) > 1), _SAMPLES))
