from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from small_text import as_lines, documents

from bertwright.data import spool
from bertwright.data.spool import Spool, VocabularyText, spooled
from bertwright.text.formats import Corpus
from bertwright.text.sources import find_sources

DOCUMENTS = documents(200)


@pytest.fixture
def read(tmp_path: Path):
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(DOCUMENTS), "utf-8")
    with open(tmp_path / "spool", "w+b") as file:
        yield spooled(Corpus(sources=find_sources([path])), file, None, lambda done, total: None)


def test_the_spool_holds_every_sentence(read: Spool, tmp_path: Path) -> None:
    assert [document.sentences for document in read.documents()] == DOCUMENTS
    assert [document.number for document in read.documents()] == list(range(200))
    assert read.language == "en"
    assert read.fingerprint == hashlib.sha256((tmp_path / "spool").read_bytes()).hexdigest()
    assert len(set(read.signatures.tolist())) == 200
    assert list(read.documents())[-1].end == read.bytes


def test_batches_hold_the_documents_taken(read: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BATCH", 2000)
    taken = np.arange(200) % 3 == 1
    batches = list(read.batches(taken))
    assert len(batches) > 5
    assert [document.number for batch in batches for document in batch] == np.flatnonzero(taken).tolist()
    assert list(read.batches(np.zeros(200, bool))) == []


def test_the_vocabulary_never_sees_what_is_held_out(read: Spool) -> None:
    heldout = np.arange(200) % 10 == 0
    text = VocabularyText(read, heldout, lambda done, total: None)
    kept = [sentence for document in np.array(DOCUMENTS, object)[~heldout] for sentence in document]
    for _ in range(2):
        assert [sentence for batch in text for sentence in batch] == kept


def test_a_vocabulary_of_a_large_corpus_comes_from_a_part_of_it(read: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_VOCABULARY_BYTES", read.bytes // 4)
    text = VocabularyText(read, np.zeros(200, bool), lambda done, total: None)
    first, second = ([sentence for batch in text for sentence in batch] for _ in range(2))
    assert first == second
    assert 0.15 * read.bytes < sum(map(len, first)) < 0.35 * read.bytes
