from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from small_text import CHINESE, ENGLISH, RUSSIAN, as_lines, documents

from bertwright.data import spool
from bertwright.data.describe import describe
from bertwright.data.prepare import ALREADY_THERE, PrepareSettings, prepare
from bertwright.data.store import Part, TokenStore
from bertwright.errors import BertwrightError, InputError, RecipeError, StoreError
from bertwright.text.tokenizer import Tokenizer
from bertwright.text.wordpiece import train_tokenizer

SMALL = PrepareSettings(vocab_size=192)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(150)), "utf-8")
    return path


def texts(part: Part, tokenizer: Tokenizer) -> list[list[str]]:
    return [[tokenizer.decode(sentence) for sentence in part.sentences(i)] for i in range(len(part))]


def plain(document: list[str]) -> str:
    return "".join("".join(document).split())


def test_every_sentence_is_in_the_store_once(corpus: Path, tmp_path: Path) -> None:
    store = prepare([corpus], tmp_path / "store", settings=SMALL)
    kept = texts(store.train, store.tokenizer) + texts(store.heldout, store.tokenizer)
    assert sorted(map(plain, kept)) == sorted(plain(document) for document in documents(150))
    assert (len(store.train), len(store.heldout)) == (148, 2)
    assert store.vocab_size == 192
    assert store.manifest["language"] == "en"
    assert store.manifest["made"]["inputs"][0]["layout"] == "lines"
    assert store.manifest["made"]["settings"]["vocab_size"] == 192
    store.verify()
    assert [path.name for path in tmp_path.iterdir() if "store" in path.name] == ["store"]


def test_counts(corpus: Path, tmp_path: Path) -> None:
    store = prepare([corpus], tmp_path / "store", settings=SMALL)
    lines = [line for document in documents(150) for line in document]
    parts = store.manifest["parts"]
    whole = {name: parts["train"][name] + parts["heldout"][name] for name in parts["train"]}
    assert whole["documents"] == 150
    assert whole["words"] == sum(len(line.split()) for line in lines)
    assert whole["sentences"] == len(lines)
    assert whole["bytes"] == sum(len(line.encode()) + 1 for line in lines)
    assert whole["tokens"] == sum(map(len, store.tokenizer.encode_batch(lines)))
    assert whole["unknown"] == 0


def test_the_same_text_gives_the_same_store_in_any_packing(corpus: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.txt.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    first = prepare([corpus], tmp_path / "a", settings=SMALL)
    code = (
        "import sys; from bertwright.data.prepare import *; "
        "print(prepare([sys.argv[1]], sys.argv[2], settings=PrepareSettings(vocab_size=192)).fingerprint)"
    )
    run = [sys.executable, "-c", code, str(packed), str(tmp_path / "b")]
    again = subprocess.run(run, capture_output=True, text=True, check=True)
    assert again.stdout.strip() == first.fingerprint
    assert TokenStore(tmp_path / "b").manifest["corpus"] == first.manifest["corpus"]


def test_settings_and_text_change_the_fingerprint(corpus: Path, tmp_path: Path) -> None:
    made = [
        prepare([corpus], tmp_path / str(i), settings=settings).fingerprint
        for i, settings in enumerate([SMALL, PrepareSettings(vocab_size=128), PrepareSettings(vocab_size=192, seed=2)])
    ]
    corpus.write_text(corpus.read_text("utf-8") + "One more.\n", "utf-8")
    made.append(prepare([corpus], tmp_path / "more", settings=SMALL).fingerprint)
    assert len(set(made)) == 4


@pytest.mark.parametrize(("text", "language"), [(RUSSIAN, "ru"), (CHINESE, "zh")])
def test_other_scripts(text: str, language: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    rows = [{"body": f"{text[i % 20 :]}\n{text}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    store = prepare([path], tmp_path / "store", settings=PrepareSettings(vocab_size=192, text_field="body"))
    assert store.manifest["language"] == language
    assert len(store.train) + len(store.heldout) == 40
    assert len(store.train.sentences(0)) > 6
    told = "\n".join(describe(store))
    assert ("character" in told) == (language == "zh")
    assert "0.000% unknown" in told


def test_held_out_documents_teach_the_tokenizer_nothing(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    corpus = documents(40)
    for document in corpus:
        document.append("Here is " + chr(0x4E00 + corpus.index(document)))
    path.write_text(as_lines(corpus), "utf-8")
    store = prepare([path], tmp_path / "store", settings=PrepareSettings(vocab_size=192, heldout=0.1))
    assert [store.manifest["parts"][name]["unknown"] for name in ("train", "heldout")] == [0, len(store.heldout)]


def test_near_duplicates_are_on_one_side(tmp_path: Path) -> None:
    corpus = documents(200)
    for i in range(100):
        corpus[100 + i] = [sentence.upper() for sentence in corpus[i]]
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(corpus), "utf-8")
    store = prepare([path], tmp_path / "store", settings=PrepareSettings(vocab_size=192, heldout=0.2))
    sides = [
        {plain(document).lower() for document in texts(part, store.tokenizer)} for part in (store.train, store.heldout)
    ]
    assert len(sides[1]) >= 20
    assert sides[0].isdisjoint(sides[1])


def test_a_single_document_is_all_for_training(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(f"{ENGLISH}\n\n{ENGLISH}", "utf-8")
    store = prepare([path], tmp_path / "store", settings=SMALL)
    assert (len(store.train), len(store.heldout), store.heldout.tokens) == (1, 0, 0)
    assert any("held out: nothing, for there is a single document" in line for line in describe(store))


def test_why_nothing_is_held_out(corpus: Path, tmp_path: Path) -> None:
    alike = tmp_path / "alike.txt"
    alike.write_text(as_lines(documents(1) * 5), "utf-8")
    told = [
        describe(prepare(path, tmp_path / f"{path.name}.store", settings=settings))
        for path, settings in ((alike, SMALL), (corpus, PrepareSettings(vocab_size=192, heldout=0)))
    ]
    assert "held out: nothing, for the documents are too much alike" in told[0]
    assert "held out: nothing, as asked" in told[1]


def test_an_existing_tokenizer_is_taken(corpus: Path, tmp_path: Path) -> None:
    given = train_tokenizer([[ENGLISH]], vocab_size=256, lower_case=True)
    given.save(tmp_path / "tokenizer")
    store = prepare([corpus], tmp_path / "store", settings=PrepareSettings(tokenizer=str(tmp_path / "tokenizer")))
    assert store.tokenizer.fingerprint == given.fingerprint == store.manifest["tokenizer"]
    again = prepare([corpus], tmp_path / "b", settings=PrepareSettings(tokenizer=str(store.path)))
    assert again.fingerprint == store.fingerprint


def test_a_finished_store_is_not_made_again(corpus: Path, tmp_path: Path) -> None:
    first = prepare([corpus], tmp_path / "store", settings=SMALL)
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    told: list[str] = []
    again = prepare([corpus], tmp_path / "store", settings=SMALL, progress=lambda stage, *_: told.append(stage))
    assert again.fingerprint == first.fingerprint
    assert told[-1] == ALREADY_THERE
    assert "reading" not in told
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == before


def test_another_finished_store_is_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    first = prepare([corpus], tmp_path / "store", settings=SMALL)
    with pytest.raises(StoreError, match=r"\(vocab_size 192 there, 512 asked\); it was left as it is"):
        prepare([corpus], tmp_path / "store", settings=PrepareSettings(vocab_size=512))
    corpus.write_text("Something else.", "utf-8")
    with pytest.raises(StoreError, match=r"\(other inputs\)"):
        prepare([corpus], tmp_path / "store", settings=SMALL)
    assert TokenStore(tmp_path / "store").fingerprint == first.fingerprint


def test_other_things_are_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a token store, and not empty"):
        prepare([corpus], tmp_path, settings=SMALL)
    with pytest.raises(StoreError, match="not a token store, and not empty"):
        prepare([corpus], corpus, settings=SMALL)
    (tmp_path / "empty").mkdir()
    assert len(prepare([corpus], tmp_path / "empty", settings=SMALL).train) == 148


def test_a_store_inside_its_input_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(as_lines(documents(20)), "utf-8")
    for _ in range(2):
        store = prepare([tmp_path], tmp_path / "store", settings=SMALL)
        assert [entry["name"] for entry in store.manifest["made"]["inputs"]] == [str(tmp_path / "a.txt")]


def test_standard_input(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(corpus.read_bytes())))
    store = prepare(["-"], tmp_path / "store", settings=SMALL)
    assert store.fingerprint == prepare([corpus], tmp_path / "b", settings=SMALL).fingerprint
    assert sorted(path.name for path in store.path.iterdir()) == ["heldout", "manifest.json", "tokenizer", "train"]


def test_what_was_met_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes(as_lines(documents(30)).encode() + b"A caf\xe9.\n")
    (folder / "b.jsonl").write_text('{"text": " "}\n{"text": "\\u200b"}\n{"text": "Words."}\n')
    (folder / "c.txt").write_text("\n")
    told = "\n".join(describe(prepare([folder], tmp_path / "store", settings=SMALL)))
    for line in (
        r"31 documents, \d+ sentences, [\d,]+ words, [\d,]+ tokens",
        r"tokens per word, 0\.000% unknown, [23]\.\d+ bytes per token",
        r"held out: 1 document, \d+ tokens \(\d\.\d\d%\), which is little to judge by \(--heldout holds out more\)",
        r"layout of \.txt: lines \(1 file\)",
        r"1 byte was not UTF-8 and was replaced",
        r"2 empty documents were skipped",
        r"1 file without text was skipped",
        r"language en",
    ):
        assert re.search(line, told), told


def test_progress_goes_up_to_the_end_of_each_stage(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "BATCH", 1000)
    told: dict[str, list[tuple[int, int]]] = {}
    prepare([corpus], tmp_path / "store", settings=SMALL, progress=lambda s, *at: told.setdefault(s, []).append(at))
    assert list(told) == ["checking", "reading", "vocabulary", "encoding"]
    for stage, steps in told.items():
        done = [at for at, _ in steps]
        assert done == sorted(done), stage
        assert len({total for _, total in steps}) == 1
        assert done[-1] <= steps[-1][1]
    assert told["encoding"][-1][0] == told["encoding"][-1][1] > 0
    assert len(told["encoding"]) > 5


def test_batches_do_not_change_the_store(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare([corpus], tmp_path / "a", settings=SMALL)
    monkeypatch.setattr(spool, "BATCH", 700)
    assert prepare([corpus], tmp_path / "b", settings=SMALL).fingerprint == first.fingerprint


def test_a_line_of_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("The heron waited for the boat " * 100_000, "utf-8")
    store = prepare([path], tmp_path / "store", settings=SMALL)
    assert store.train.tokens >= 600_000
    assert max(len(sentence) for sentence in store.train.sentences(0)) < 10_000


def test_bytes_per_token_on_ordinary_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ENGLISH.split()
    corpus = [[" ".join(rng.choice(words, 16)) + "." for _ in range(30)] for _ in range(100)]
    (tmp_path / "a.txt").write_text(as_lines(corpus), "utf-8")
    store = prepare([tmp_path / "a.txt"], tmp_path / "store", settings=PrepareSettings(vocab_size=1024))
    size = sum(path.stat().st_size for path in store.path.rglob("*.bin"))
    assert size / (store.train.tokens + store.heldout.tokens) < 2.2


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, InputError, "no such file or folder"),
        (b"", InputError, "no text in it"),
        (b"\xe2\x80\x8b\n", InputError, "the tokenizer finds nothing|no text to train"),
        (b"one \xff two three four five", InputError, r":1: not UTF-8"),
    ],
)
def test_bad_inputs_leave_nothing(content: bytes | None, error: type, said: str, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=said) as caught:
        prepare([path], tmp_path / "store", settings=PrepareSettings(strict=True))
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == (["in.txt"] if content is not None else [])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"vocab_size": 10}, "accepted are 128 to"),
        ({"heldout": 0.9}, "accepted are 0 to 0.5"),
        ({"layout": "verse"}, "known are auto, lines, prose, wrapped"),
        ({"tokenizer": "a", "lower_case": True}, "a given tokenizer has its own"),
        ({"language": "English"}, "not a language code"),
    ],
)
def test_settings_that_do_not_go(settings: dict, said: str) -> None:
    with pytest.raises(BertwrightError, match=said) as caught:
        PrepareSettings(**settings)
    assert isinstance(caught.value, RecipeError | InputError)


def test_a_full_disk(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"store: no space left to write the token store; nothing was left there$"):
        prepare([corpus], tmp_path / "store", settings=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_a_file_that_the_system_lets_grow_no_further(corpus: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from bertwright.data.prepare import *; from bertwright.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: prepare([sys.argv[1]], sys.argv[2])\n"
        "except StoreError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, corpus, tmp_path / "store"], capture_output=True, text=True)
    assert run.stdout == f"{tmp_path}/store: no space left to write the token store; nothing was left there\n"
    assert run.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize("stage", ["reading", "vocabulary", "encoding"])
def test_a_killed_prepare_is_finished_by_the_same_command(stage: str, corpus: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from bertwright.data.prepare import *\n"
        "def kill(stage, done, total):\n"
        f"    if stage == {stage!r}: os.kill(os.getpid(), {signal.SIGKILL.value})\n"
        "prepare([sys.argv[1]], sys.argv[2], settings=PrepareSettings(vocab_size=192), progress=kill)\n"
    )
    out = tmp_path / "store"
    assert subprocess.run([sys.executable, "-c", code, corpus, out]).returncode == -signal.SIGKILL
    with pytest.raises(StoreError, match="half-written"):
        TokenStore(out)
    store = prepare([corpus], out, settings=SMALL)
    store.verify()
    assert store.fingerprint == prepare([corpus], tmp_path / "other", settings=SMALL).fingerprint
    assert not out.with_name("store.partial").exists()
