"""The corpus as sentences in a file beside the store that is being made, so that inputs are read once."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np

from ..seeds import mixed
from ..text.duplicates import signature
from ..text.formats import Corpus
from ..text.sentences import detect_language, sentences
from ..text.sources import Tally

Report = Callable[[int, int], None]
"""Called with the bytes done and the bytes of all."""

BATCH = 1 << 18
"""Characters that are handed on, or worked through between two reports, at a time."""
_VOCABULARY_BYTES = 512 << 20
_SAMPLED_SOURCES = 32
_SAMPLED_CHARACTERS = 20_000


class SpooledDocument(NamedTuple):
    number: int
    sentences: list[str]
    end: int
    """Where in the spool it ends, in bytes."""


class Spool(NamedTuple):
    """One sentence a line, an empty line after each document."""

    file: BinaryIO
    bytes: int
    signatures: np.ndarray
    """[documents] uint64, equal for near-duplicates"""
    fingerprint: str
    """sha256 over the sentences."""
    language: str
    tally: Tally

    def documents(self) -> Iterator[SpooledDocument]:
        self.file.seek(0)
        document: list[str] = []
        number = end = 0
        for line in self.file:
            end += len(line)
            if line != b"\n":
                document.append(line[:-1].decode())
                continue
            yield SpooledDocument(number, document, end)
            document = []
            number += 1

    def batches(self, taken: np.ndarray) -> Iterator[list[SpooledDocument]]:
        """The documents that `taken` [documents] bool marks, about a quarter of a Mi of characters at a time."""
        batch: list[SpooledDocument] = []
        size = 0
        for document in self.documents():
            if not taken[document.number]:
                continue
            batch.append(document)
            size += sum(map(len, document.sentences))
            if size > BATCH:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def spooled(corpus: Corpus, file: BinaryIO, language: str | None, report: Report) -> Spool:
    """Reads the corpus into `file`; the language is looked for where it is None. Raises InputError."""
    language = language or detect_language(_sample(corpus))
    tally = Tally()
    signatures = array("Q")
    digest = hashlib.sha256()
    total = sum(source.size for source in corpus.sources)
    size = reported = 0
    for document in corpus.documents(tally):
        written = ("\n".join(sentences(document.text, language)) + "\n\n").encode("utf-8", "replace")
        file.write(written)
        digest.update(written)
        signatures.append(signature(document.text))
        size += len(written)
        if size - reported > BATCH:
            report(tally.read, total)
            reported = size
    report(total, total)
    return Spool(file, size, np.array(signatures, np.uint64), digest.hexdigest(), language, tally)


def _sample(corpus: Corpus) -> str:
    """Text from up to 32 of the sources, spread over all of them."""
    step = -(-len(corpus.sources) // _SAMPLED_SOURCES)
    sample: list[str] = []
    for source in corpus.sources[::step]:
        wanted = _SAMPLED_CHARACTERS
        for document in islice(corpus.documents_of(source, Tally()), 200):
            sample.append(document.text[:wanted])
            wanted -= len(sample[-1])
            if wanted <= 0:
                break
    return "\n".join(sample)


class VocabularyText:
    """Batches of the sentences that a vocabulary is trained on, walked twice by the training.

    Of more than 512 MiB, a random choice of documents of about that size, the same one each time: more text changes a
    vocabulary no more.
    """

    def __init__(self, spool: Spool, heldout: np.ndarray, report: Report) -> None:
        self._spool = spool
        self._report = report
        self._walks = 0
        drawn = mixed(np.arange(len(heldout), dtype=np.uint64)) * 2.0**-64
        self._taken = ~heldout & (drawn <= _VOCABULARY_BYTES / max(1, spool.bytes))

    def __iter__(self) -> Iterator[list[str]]:
        begun = self._walks * self._spool.bytes
        self._walks += 1
        for batch in self._spool.batches(self._taken):
            yield [sentence for document in batch for sentence in document.sentences]
            self._report(begun + batch[-1].end, 2 * self._spool.bytes)
