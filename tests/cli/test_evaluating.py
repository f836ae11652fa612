"""`bertwright evaluate --minimal-pairs` and what finetuning leaves, as a person sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

Call = Callable[..., Any]
PAIRS = [
    {"good": "The captain saw the storm at dawn.", "bad": "The captain storm the saw at dawn.", "uid": "order"},
    {"good": "Садовник полил белую розу.", "bad": "Садовник белую полил розу.", "uid": "порядок"},
]


@pytest.mark.parametrize("options", [[], ["--fast"], ["--exact", "--pll", "within-word-l2r"]])
def test_minimal_pairs(call: Call, pretrained: Path, tmp_path: Path, options: list[str]) -> None:
    path, out = runs.write_rows(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "scores.jsonl"
    words = ["evaluate", pretrained, "--minimal-pairs", path, "--out", out, *options]
    status, table, _ = call(*words)
    assert status == 0
    assert [line.split()[0] for line in table.splitlines()] == ["all", "pairs", "uid", "order", "порядок"]
    scores = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [{key: row[key] for key in PAIRS[0]} for row in scores] == PAIRS
    assert [row["right"] for row in scores] == [float(row["good_score"] > row["bad_score"]) for row in scores]
    status, said, noise = call(*words, "--json")
    found = json.loads(said)
    assert (status, noise) == (0, "")
    assert found["pll"] == (options[-1] if "--pll" in options else "original")
    assert found["all"]["accuracy"] == sum(row["right"] for row in scores) / 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--minimal-pairs", "{folder}/none.jsonl"], "none.jsonl: no such file"),
        (["--minimal-pairs", "{folder}/pairs.jsonl"], "pairs.jsonl:1: 'bad' or 'sentence_bad' is empty"),
        (["--minimal-pairs", "{folder}/pairs.jsonl", "--pll", "word"], "is original or within-word-l2r, not 'word'"),
        (["--minimal-pairs", "{folder}/pairs.jsonl", "--out", "{folder}/no/where"], "there is no folder"),
        (["--minimal-pairs", "{folder}/pairs.jsonl", "--out", "{folder}"], "a folder; name a file in it"),
        (["--minimal-pairs", "{folder}/pairs.jsonl", "--input", "x.csv"], "one of --store"),
        ([], "one of --store"),
    ],
)
def test_bad_use(call: Call, pretrained: Path, tmp_path: Path, options: list[str], why: str) -> None:
    runs.write_rows(tmp_path / "pairs.jsonl", [{"good": "a", "bad": ""}])
    status, out, err = call("evaluate", pretrained, *(option.format(folder=tmp_path) for option in options))
    assert (status, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1


def test_finetuning_from_several_seeds(call: Call, pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    words = ["finetune", pretrained, "--train", labelled, "--out", tmp_path / "out", "--steps", 2, "--seeds", 2]
    status, table, _ = call(*words)
    assert status == 0
    assert "seed 1    seed 2" in table
    status, said, noise = call(*words, "--json")
    assert (status, noise) == (0, "")
    assert json.loads(said) == json.loads((tmp_path / "out" / "seeds.json").read_text(encoding="utf-8"))
    assert json.loads(said)["seeds"] == [1, 2]
    assert call(*words[:-2]).status == 2
