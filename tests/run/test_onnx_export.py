"""What onnxruntime makes of an exported checkpoint: beside transformers, and judged by labelled rows beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bertwright.errors import RunError
from bertwright.run import onnx_export
from bertwright.run.answering import Answerer
from bertwright.run.onnx_export import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROWS: dict[str, list[dict[str, Any]]] = {
    "regress": [{"text": "the captain", "score": 1.5}, {"text": "садовник полил белую розу", "score": -1.0}] * 4,
    "tag": [{"tokens": ["the", "садовник"], "tags": ["B-x", "O"]}, {"tokens": ["tide"], "tags": ["O"]}] * 4,
    "span": [{"question": "who", "context": "the captain", "answers": {"text": ["captain"], "answer_start": [4]}}] * 4,
    "choice": [
        {"prompt": "sea", "endings": ["was grey", "розу"], "label": 1},
        {"prompt": "tide", "endings": ["again", "too", "сад"], "label": 0},
    ] * 4,
    "embed": [{"text_a": "the captain", "text_b": "a sailor"}, {"text_a": "the tide", "text_b": "сосед"}] * 4,
    "multilabel": [{"text": "the captain", "labels": ["a", "b"]}, {"text": "сосед продал", "labels": ["b"]}] * 4,
}  # fmt: skip


def said(folder: Path, texts: list[str], file: str = "model.onnx") -> np.ndarray:
    """[texts, classes] as a program says that has the exported folder alone."""
    asked = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
    return onnxruntime.InferenceSession(folder / file).run(["logits"], dict(asked))[0]


@torch.no_grad()
def test_a_classifier_says_the_same_in_batches_of_any_size(classifier: Path, tmp_path: Path) -> None:
    facts = export_onnx(str(classifier), tmp_path / "out", None, int8=True, length=None).facts
    theirs = AutoModelForSequenceClassification.from_pretrained(classifier / "model")
    tokenizer, rows = AutoTokenizer.from_pretrained(classifier / "model"), runs.rows(9, seed=5)
    for texts in ([row["text"] for row in rows], [rows[0]["text"]], ["сад " * 120, "a"]):
        expected = theirs(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
        assert said(tmp_path / "out", texts) == pytest.approx(expected, abs=1e-5)
        assert said(tmp_path / "out", texts, "model_int8.onnx") == pytest.approx(expected, abs=0.05)
    graph = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert {tuple(one.shape) for one in graph.get_inputs()} == {("batch", "length")}
    assert facts["megabytes"]["model_int8.onnx"] < 0.5 * facts["megabytes"]["model.onnx"]
    assert 0.5 < facts["int8"]["logits"]["same"] <= 1
    assert 0 < facts["int8"]["logits"]["largest"] < 0.05


def test_labelled_rows_judge_each_file(classifier: Path, tmp_path: Path) -> None:
    rows = runs.rows(40, seed=7)
    wrong = [{**row, "label": rows[at + 1]["label"]} if at % 8 == 0 else row for at, row in enumerate(rows)]
    found = export_onnx(str(classifier), tmp_path / "out", wrong, int8=True, length=None)
    scores = found.facts["scores"]
    assert scores["bertwright"] == pytest.approx(Answerer(str(classifier), precision="fp32").evaluate_rows(wrong))
    assert scores["onnx"] == pytest.approx(scores["bertwright"], abs=1e-5)
    classes = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["id2label"]
    answers = said(tmp_path / "out", [row["text"] for row in wrong], "model_int8.onnx").argmax(1)
    right = [classes[str(answer)] == row["label"] for answer, row in zip(answers, wrong, strict=True)]
    assert scores["int8"]["classify.accuracy"] == pytest.approx(sum(right) / 40)
    assert 0.8 < sum(right) / 40 < 1
    assert all(speed > 0 for speed in found.facts["rows a second"].values())
    assert "int8 - onnx" in found.text


@pytest.mark.parametrize("task", ROWS)
def test_every_head_for_rows_is_judged_alike(pretrained: Path, tmp_path: Path, task: str) -> None:
    rows = runs.write_rows(tmp_path / "rows.jsonl", ROWS[task])
    few = {"train__steps": 1, "evaluate__every": 1, "save__every": 1}
    tables = runs.finetuning(pretrained, rows, tmp_path / task, task=task, data__dev=str(rows), **few)
    if task == "embed":
        tables["tasks"] = {"embed": {"group": 2}}
    home = runs.done(tables)
    scores = export_onnx(str(home), tmp_path / "out", ROWS[task], int8=False, length=None).facts["scores"]
    assert set(scores) == {"bertwright", "onnx"}
    assert f"{task}.loss" in scores["onnx"] or f"{task}.mse" in scores["onnx"]
    assert scores["onnx"] == pytest.approx(scores["bertwright"], abs=1e-4)


@pytest.mark.parametrize("arch", ["bert", "modern", "electra"])
def test_every_architecture(store: Path, tmp_path: Path, arch: str) -> None:
    task = {"bert": "mlm+nsp", "modern": "mlm", "electra": "rtd"}[arch]
    few = {"train__steps": 1, "evaluate__every": 1, "save__every": 1}
    home = runs.done(runs.pretraining(store, tmp_path / arch, task=task, encoder__arch=arch, **few))
    facts = export_onnx(str(home), tmp_path / "out", None, int8=True, length=None).facts
    outputs = {"bert": {"prediction_logits", "seq_relationship_logits"}}.get(arch, {"logits"})
    assert set(facts["differences"]) == outputs == set(facts["int8"])
    assert all(apart["largest"] <= 1e-4 * max(1, apart["of"]) for apart in facts["differences"].values())


def test_a_graph_that_says_something_else_is_not_left_there(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "ALLOWED", 1e-12)
    with pytest.raises(RunError, match="onnxruntime says other logits than bertwright"):
        export_onnx(str(classifier), tmp_path / "out", None, int8=False, length=None)
    assert not list(tmp_path.iterdir())
