"""Every task on rows with ModernBERT: transformers reads the model as its own class and says what bertwright says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import runs
import theirs
from small_rows import choices, pairs, questions, sentences, several_labels

from bertwright.run.answering import Answerer

SIDES = {"first": "a", "second": "b"}


@pytest.fixture(scope="module")
def modern(store: Path, base: Path) -> Path:
    changes = {"task": "mlm", "encoder__arch": "modern", "train__steps": 2}
    return runs.done(runs.pretraining(store, base / "modern for rows", **changes))


def learned(start: Path, folder: Path, task: str, made: list[dict[str, Any]], **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    train = runs.write_rows(folder / "train.jsonl", made)
    few = {"train__steps": 6, "train__lr": 2e-3, "evaluate__every": 6, "save__every": 6}
    return runs.done(runs.finetuning(start, train, folder / "run", task=task, tasks={task: settings}, **few))


def architecture(home: Path) -> str:
    (found,) = json.loads((home / "model" / "config.json").read_text(encoding="utf-8"))["architectures"]
    return found


def predicted(home: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(Answerer(str(home), length=256, precision="fp32").predict(rows))


@pytest.mark.parametrize(
    ("task", "made", "settings"),
    [
        ("classify", runs.rows(32), {}),
        ("pair", pairs(32, 1), SIDES),
        ("multilabel", several_labels(32, 1), {}),
        ("regress", pairs(32, 1), SIDES),
    ],
)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_texts(
    modern: Path, tmp_path: Path, task: str, made: list[dict[str, Any]], settings: dict[str, str], pooling: str
) -> None:
    home = learned(modern, tmp_path, task, made, **settings, pooling=pooling)
    assert architecture(home) == "ModernBertForSequenceClassification"
    texts = [{"text": row["a"], "text_pair": row["b"]} if settings else row["text"] for row in made]
    for one, scores in zip(predicted(home, made), theirs.classified(home / "model", texts), strict=True):
        assert one.get("probabilities", {"score": one["predicted"]}) == pytest.approx(scores, abs=1e-5)


def test_a_classifier_reads_what_its_checkpoint_says_unless_asked_otherwise(modern: Path, tmp_path: Path) -> None:
    """As ModernBERT's own configs say `mean`."""
    shutil.copytree(modern / "model", tmp_path / "mean")
    config = json.loads((tmp_path / "mean" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "mean" / "config.json").write_text(json.dumps(config | {"classifier_pooling": "mean"}))
    made = runs.rows(32)
    for said, reads in ({}, "mean"), ({"pooling": "cls"}, "cls"):
        home = learned(tmp_path / "mean", tmp_path / reads, "classify", made, **said)
        assert json.loads((home / "model" / "config.json").read_text())["classifier_pooling"] == reads
        scores = theirs.classified(home / "model", [row["text"] for row in made])
        for one, score in zip(predicted(home, made), scores, strict=True):
            assert one["probabilities"] == pytest.approx(score, abs=1e-5)


def test_tokens(modern: Path, tmp_path: Path) -> None:
    made = [*sentences(24, 1), *sentences(4, 3, long=True)]
    home = learned(modern, tmp_path, "tag", made)
    assert architecture(home) == "ModernBertForTokenClassification"
    for one, (tags, scores) in zip(predicted(home, made), theirs.tagged(home / "model", made), strict=True):
        assert one["predicted"] == tags
        assert one["probability"] == pytest.approx(scores, abs=1e-5)


def test_questions(modern: Path, tmp_path: Path) -> None:
    made = questions(24, 1)
    home = learned(modern, tmp_path, "span", made)
    assert architecture(home) == "ModernBertForQuestionAnswering"
    assert [one["predicted"] for one in predicted(home, made)] == theirs.answered(home / "model", made)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_endings(modern: Path, tmp_path: Path, pooling: str) -> None:
    made = choices(24, 1)
    home = learned(modern, tmp_path, "choice", made, pooling=pooling)
    assert architecture(home) == "ModernBertForMultipleChoice"
    for one, shares in zip(predicted(home, made), theirs.chosen(home / "model", made), strict=True):
        assert one["probabilities"] == pytest.approx(shares, abs=1e-5)


def test_embeddings(modern: Path, tmp_path: Path) -> None:
    made = pairs(24, 1)
    home = learned(modern, tmp_path, "embed", made, **SIDES)
    assert architecture(home) == "ModernBertModel"
    said = theirs.embedded(home / "model", [row["a"] for row in made])
    for one, vector in zip(predicted(home, made), said, strict=True):
        assert one["embeddings"][0] == pytest.approx(vector, abs=1e-4)
