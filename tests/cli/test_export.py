"""`bertwright export` as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript")
Call = Callable[..., Any]


def test_onnx_with_8_bits(call: Call, classifier: Path, labelled: Path, tmp_path: Path) -> None:
    words = ["export", classifier, "--to", "onnx", "--int8", "--input", labelled]
    status, text, noise = call(*words, "--out", tmp_path / "a")
    assert (status, noise) == (0, "")
    assert "classify.accuracy" in text
    assert "rows a second" in text
    status, said, _ = call(*words, "--out", tmp_path / "b", "--json")
    assert (status, json.loads(said)["rows"]) == (0, 64)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "bertwright.json", "config.json", "model.onnx", "model_int8.onnx", "tokenizer.json", "tokenizer_config.json",
        "vocab.txt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--to", "onnnx", "--out", "{folder}/x"], "--to is onnx or sentence-transformers, not 'onnnx'"),
        (["--to", "onnx", "--out", "{folder}"], "there is something already; choose a new folder"),
        (["--to", "onnx", "--out", "."], "--out .: give a new folder a name"),
        (["--to", "sentence-transformers", "--int8", "--out", "{folder}/x"], "--int8 is for --to onnx"),
        (["--to", "onnx", "--out", "{folder}/x", "--input", "{folder}/none.csv"], "none.csv: no such file"),
        (["--to", "onnx", "--out", "{folder}/x", "--input", "{folder}/here.txt"], "label"),
    ],
)
def test_bad_use(call: Call, classifier: Path, tmp_path: Path, options: list[str], why: str) -> None:
    (tmp_path / "here.txt").write_text("unlabelled\n", encoding="utf-8")
    status, out, err = call("export", classifier, *(option.format(folder=tmp_path) for option in options))
    assert (status, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here.txt"]


def test_rows_for_a_model_of_text(call: Call, pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    status, _, err = call("export", pretrained, "--to", "onnx", "--input", labelled, "--out", tmp_path / "x")
    assert status == 2
    assert "its task is mlm+nsp" in err
