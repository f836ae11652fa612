from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_text import ENGLISH

from bertwright.data.store import TokenStore
from bertwright.data.writer import StoreWriter, dtype_for
from bertwright.errors import StoreError
from bertwright.text.tokenizer import Tokenizer
from bertwright.text.wordpiece import train_tokenizer

Documents = list[list[list[int]]]
TRAIN: Documents = [[[5, 6, 7], [8]], [[9] * 300, [10, 11]], [[12]]]
HELDOUT: Documents = [[[13, 14]]]


@cache
def trained() -> Tokenizer:
    return train_tokenizer([[ENGLISH]], vocab_size=128)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return trained()


def write(out: Path, tokenizer: Tokenizer, train: Documents, heldout: Documents, vocab_size: int = 128) -> TokenStore:
    with StoreWriter(out) as writer:
        writer.tokenizer(tokenizer)
        parts = {name: writer.part(name, vocab_size) for name in ("train", "heldout")}
        for name, documents in (("train", train), ("heldout", heldout)):
            for document in documents:
                parts[name].add(np.array([i for s in document for i in s]), np.array([len(s) for s in document]))
        counts = {name: {"documents": p.documents, "tokens": p.tokens} for name, p in parts.items()}
        writer.finish(parts, tokenizer, {"parts": counts})
    return TokenStore(out)


def read(store: TokenStore, name: str) -> Documents:
    part = getattr(store, name)
    return [[sentence.tolist() for sentence in part.sentences(i)] for i in range(len(part))]


@given(
    train=st.lists(
        st.lists(st.lists(st.integers(0, 127), min_size=1, max_size=9), min_size=1, max_size=4), max_size=150
    ),
    heldout=st.lists(st.just([[1, 2], [3]]), max_size=3),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_document_comes_back(train: Documents, heldout: Documents) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = write(Path(folder, "store"), trained(), train, heldout)
        assert (read(store, "train"), read(store, "heldout")) == (train, heldout)
        assert store.train.tokens == sum(len(sentence) for document in train for sentence in document)
        store.verify()


def test_many_documents_in_any_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    documents = [
        [rng.integers(0, 128, rng.choice([1, 20, 254, 255, 700])).tolist() for _ in range(rng.integers(1, 4))]
        for _ in range(1000)
    ]
    store = write(tmp_path / "store", tokenizer, documents, [])
    for i in [*rng.integers(0, 1000, 200).tolist(), 0, 63, 64, 65, 127, 128, 999]:
        assert [s.tolist() for s in store.train.sentences(i)] == documents[i]
    with pytest.raises(IndexError, match="document 1000 of 1000"):
        store.train.sentences(1000)


def test_sentences_are_a_sequence_of_their_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sentences = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT).train.sentences(1)
    assert len(sentences) == 2
    assert sentences[-1].tolist() == [10, 11]
    assert [s.tolist() for s in sentences[1:]] == [[10, 11]]
    assert np.concatenate(list(sentences)).tolist() == [*TRAIN[1][0], *TRAIN[1][1]]
    assert sentences[0].dtype == np.int64
    sentences[1][:] = 0
    assert sentences[1].tolist() == [10, 11]
    with pytest.raises(IndexError):
        sentences[2]


def test_documents_for_tasks(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT)
    documents = store.train.documents(128)
    assert (len(documents), documents.tokens) == (3, store.train.tokens)
    assert documents[1].length == 128
    assert documents[1].vocabulary == store.vocabulary == store.tokenizer.vocabulary
    assert [s.tolist() for s in documents[-1].sentences] == TRAIN[2]
    assert len(documents[0:2]) == 2
    rng = np.random.default_rng(0)
    alone = store.heldout.documents(128)[0]
    sentences, place = alone.elsewhere(rng)
    assert ([s.tolist() for s in sentences], place) == (HELDOUT[0], 0)


def test_a_place_elsewhere_is_any_token_of_the_other_documents(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Over the borders of groups of documents, which are decoded together."""
    draw, rng = np.random.default_rng(1), np.random.default_rng(2)
    parts = [[[5 + i % 20] * int(n) for n in draw.integers(1, 400, draw.integers(2, 5))] for i in range(150)]
    documents = write(tmp_path / "store", tokenizer, parts, HELDOUT).train.documents(128)
    by_lengths = {tuple(map(len, part)): number for number, part in enumerate(parts)}
    assert len(by_lengths) == len(parts)
    for at in (0, 63, 64, 149):
        drawn: Counter[tuple[int, int]] = Counter()
        for _ in range(4000):
            sentences, place = documents[at].elsewhere(rng)
            drawn[by_lengths[tuple(map(len, sentences))], place] += 1
        assert all(number != at for number, _ in drawn)
        tokens = {(i, j): len(s) for i, part in enumerate(parts) for j, s in enumerate(part) if i != at}
        expected = np.array([4000 * n / sum(tokens.values()) for n in tokens.values()])
        found = np.array([drawn[key] for key in tokens])
        assert ((found - expected) ** 2 / expected).sum() < 1.4 * len(tokens)


def test_large_vocabularies_take_four_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert (dtype_for(65_536), dtype_for(65_537)) == (np.uint16, np.uint32)
    with StoreWriter(tmp_path / "store") as writer:
        part = writer.part("train", 70_000)
        part.add(np.array([69_999, 1]), np.array([2]))
        part.end()
        for file in part._files.values():
            file.close()
        assert np.fromfile(writer.folder / "train" / "tokens.bin", "<u4").tolist() == [69_999, 1]


def test_the_same_content_has_the_same_fingerprint(tmp_path: Path, tokenizer: Tokenizer) -> None:
    first, second = (write(tmp_path / name, tokenizer, TRAIN, HELDOUT) for name in "ab")
    other = write(tmp_path / "c", tokenizer, TRAIN, [[[13, 15]]])
    assert first.fingerprint == second.fingerprint != other.fingerprint
    for path in sorted(first.path.rglob("*")):
        assert path.is_dir() or path.read_bytes() == (second.path / path.relative_to(first.path)).read_bytes()


def manifest_with(**changes: object) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        manifest = json.loads((store / "manifest.json").read_text())
        (store / "manifest.json").write_text(json.dumps(manifest | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda store: (store / "manifest.json").unlink(), "not a token store (no manifest.json in it)"),
        (
            lambda store: (store / "manifest.json").write_text("{"),
            "not a token store (its manifest.json cannot be read",
        ),
        (lambda store: (store / "manifest.json").write_text("[]"), "not a token store (its manifest.json cannot be"),
        (manifest_with(format="other"), "not a token store (its manifest.json is of 'other')"),
        (manifest_with(version=9), "a store of version 9, this bertwright reads 1"),
        (lambda store: (store / "train" / "tokens.bin").unlink(), "damaged: train/tokens.bin is missing"),
        (lambda store: os.truncate(store / "train" / "outline.bin", 2), "damaged: train/outline.bin has 2 bytes"),
    ],
)
def test_what_is_not_a_whole_store_is_refused(
    damage: Callable[[Path], None], said: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    store = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT).path
    damage(store)
    with pytest.raises(StoreError) as caught:
        TokenStore(store)
    assert str(caught.value).startswith(f"{store}: {said}")
    assert "\n" not in str(caught.value)


def test_the_folder_one_is_in(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT)
    monkeypatch.chdir(tmp_path / "store")
    assert TokenStore(".").fingerprint == store.fingerprint


def test_no_store_at_all(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no such token store; make one with `bertwright prepare INPUT... --out"):
        TokenStore(tmp_path / "store")


def test_a_changed_byte_is_found_by_verify(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT)
    store.verify()
    path = store.path / "heldout" / "tokens.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"damaged: heldout/tokens\.bin is not as it was written"):
        TokenStore(store.path).verify()


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space left to write"),
        (errno.EDQUOT, "no space left to write"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_a_full_disk_leaves_nothing(
    call: str, code: int, said: str, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=said) as caught:
        write(tmp_path / "store", tokenizer, TRAIN, HELDOUT)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError])
def test_an_interrupted_writer_leaves_nothing(problem: type[BaseException], tmp_path: Path) -> None:
    def interrupted() -> None:
        with StoreWriter(tmp_path / "store") as writer:
            writer.part("train", 128).add(np.array([1]), np.array([1]))
            raise problem

    with pytest.raises(problem):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    with pytest.raises(StoreError, match="the token store cannot be written: Not a directory"):
        StoreWriter(tmp_path / "file" / "store").__enter__()


def test_two_writers_of_one_store(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        with pytest.raises(StoreError, match="another process is writing"):
            StoreWriter(tmp_path / "store").__enter__()
        assert writer.folder.is_dir()


def test_a_killed_writer_leaves_a_store_known_as_half_written(tmp_path: Path, tokenizer: Tokenizer) -> None:
    out = tmp_path / "store"
    code = (
        "import os, sys; from pathlib import Path; import numpy as np; from bertwright.data.writer import StoreWriter\n"
        "with StoreWriter(Path(sys.argv[1])) as writer:\n"
        "    part = writer.part('train', 128)\n"
        "    [part.add(np.arange(9), np.array([9])) for _ in range(200_000)]\n"
        f"    os.kill(os.getpid(), {signal.SIGKILL.value})\n"
    )
    assert subprocess.run([sys.executable, "-c", code, out]).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["store.partial"]
    for path in (out, tmp_path / "store.partial"):
        with pytest.raises(StoreError, match=r"half-written; run the same `bertwright prepare .*store` again"):
            TokenStore(path)
    assert read(write(out, tokenizer, TRAIN, HELDOUT), "train") == TRAIN
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


class Drawn:
    """A generator whose next whole number is given."""

    def __init__(self, number: int) -> None:
        self.number = number

    def integers(self, end: int) -> int:
        assert self.number < end
        return self.number


def test_of_all_places_elsewhere_each_is_drawn_by_one_number(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = write(tmp_path / "store", tokenizer, TRAIN, HELDOUT).train.documents(128)
    for at, own in enumerate(TRAIN):
        found: Counter[tuple[int, int]] = Counter()
        for number in range(documents.tokens - sum(map(len, own))):
            sentences, place = documents[at].elsewhere(Drawn(number))  # type: ignore[arg-type]
            found[TRAIN.index([sentence.tolist() for sentence in sentences]), place] += 1
        others = [(i, part) for i, part in enumerate(TRAIN) if i != at]
        assert found == {(i, j): len(sentence) for i, part in others for j, sentence in enumerate(part)}
