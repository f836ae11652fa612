"""Every task on rows, from the file to the answers: what is learned, what transformers says of it, what is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import runs
from scipy import stats
from sklearn import metrics
from transformers import pipeline

from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance

ENOUGH = {"train__steps": 30, "train__lr": 2e-3, "evaluate__every": 15}


def learned(start: Path, folder: Path, task: str, made: list[dict[str, Any]], dev: list[dict[str, Any]], **how: Any):
    """A run of a task on those rows, judged by the others."""
    train, held = (runs.write_rows(folder / f"{name}.jsonl", x) for name, x in (("train", made), ("dev", dev)))
    changes = {"task": task, "data__dev": str(held), "save__every": 30, **ENOUGH, **how}
    return runs.done(runs.finetuning(start, train, folder / "run", **changes))


def heldout(home: Path) -> dict[str, float]:
    record = Provenance.read(home / "model")
    assert record is not None
    return dict(record.heldout)


def pairs(number: int, seed: int) -> list[dict[str, Any]]:
    """Two sentences, on the same topic or not; the score is how many of both are about the sea."""
    draw = random.Random(seed)
    made = []
    for _ in range(number):
        sea = [draw.random() < 0.5 for _ in range(2)]
        texts = [runs.sentence((runs.GARDEN, runs.SEA)[one], draw) for one in sea]
        made.append({"a": texts[0], "b": texts[1], "label": "same" if sea[0] == sea[1] else "other", "score": sum(sea)})
    return made


def test_pairs_are_classified_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__pair__first": "a", "tasks__pair__second": "b", "tasks__pair__weights": "balanced"}
    home = learned(pretrained, tmp_path, "pair", pairs(64, 1), dev, **settings)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu")
    said = theirs([{"text": row["a"], "text_pair": row["b"]} for row in dev])
    assert [one["predicted"] for one in ours] == [one["label"] for one in said]
    assert [one["probability"] for one in ours] == pytest.approx([one["score"] for one in said], abs=1e-5)
    accuracy = metrics.accuracy_score([row["label"] for row in dev], [one["predicted"] for one in ours])
    assert heldout(home)["pair.accuracy"] == pytest.approx(accuracy)


def test_scores_are_predicted_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__regress__first": "a", "tasks__regress__second": "b"}
    home = learned(pretrained, tmp_path, "regress", pairs(64, 1), dev, **settings)
    answerer = Answerer(str(home), precision="fp32")
    ours = [one["predicted"] for one in answerer.predict(dev)]
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu")
    said = theirs([{"text": row["a"], "text_pair": row["b"]} for row in dev])
    assert ours == pytest.approx([one["score"] for one in said], abs=1e-5)
    report, true = heldout(home), [row["score"] for row in dev]
    assert report["regress.pearson"] == pytest.approx(stats.pearsonr(ours, true)[0], abs=1e-5)
    assert report["regress.spearman"] == pytest.approx(stats.spearmanr(ours, true)[0], abs=1e-3)
    assert report["regress.pearson"] > 0.5
    assert answerer.evaluate_rows(dev) == pytest.approx(report, abs=1e-4)
    assert Answerer(str(home)).task.name == "regress"
