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
from bertwright.tasks.entities import matched

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


def test_several_labels_are_said_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    def both(number: int, seed: int) -> list[dict[str, Any]]:
        labels = {0: ["сад"], 1: ["море", "сад"], 2: ["море"]}
        return [{"text": f"{row['a']} {row['b']}", "labels": labels[row["score"]]} for row in pairs(number, seed)]

    dev = both(30, 2)
    home = learned(pretrained, tmp_path, "multilabel", both(64, 1), dev)
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu", top_k=None)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    for one, said in zip(ours, theirs([row["text"] for row in dev]), strict=True):
        assert one["probabilities"] == pytest.approx({x["label"]: x["score"] for x in said}, abs=1e-5)
    true = [[int(label in row["labels"]) for label in ("море", "сад")] for row in dev]
    said = [[int(label in one["predicted"]) for label in ("море", "сад")] for one in ours]
    assert heldout(home)["multilabel.micro_f1"] == pytest.approx(metrics.f1_score(true, said, average="micro"))


def sentences(number: int, seed: int, long: bool = False) -> list[dict[str, Any]]:
    """Tokens with the agent of each sentence as an entity; long ones are several sentences end to end."""
    draw = random.Random(seed)
    made = []
    for at in range(number):
        tokens, tags = [], []
        for _ in range(12 if long else 1):
            topic = (runs.SEA, runs.GARDEN)[at % 2]
            agent, rest = draw.choice(topic[0]).split(), [w for part in topic[1:] for w in draw.choice(part).split()]
            kind = ("SEA", "САД")[at % 2]
            tokens += [*agent, *rest, "."]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(agent) - 1), *["O"] * (len(rest) + 1)]
        made.append({"tokens": tokens, "tags": tags})
    return made


def test_tokens_are_tagged_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = [*sentences(20, 2), *sentences(4, 3, long=True)]
    home = learned(pretrained, tmp_path, "tag", sentences(64, 1), dev, train__steps=60)
    answerer = Answerer(str(home), length=512, precision="fp32")
    ours = list(answerer.predict(dev))
    theirs = pipeline("token-classification", model=str(home / "model"), device="cpu", ignore_labels=[])
    for row, one in zip(dev, ours, strict=True):
        starts = [len(" ".join([*row["tokens"][:at], ""])) for at in range(len(row["tokens"]))]
        said = {x["start"]: x for x in theirs(" ".join(row["tokens"]))}
        assert one["predicted"] == [said[start]["entity"] for start in starts]
        assert one["probability"] == pytest.approx([said[start]["score"] for start in starts], abs=1e-5)
    windowed = list(Answerer(str(home), length=32, precision="fp32").predict(dev))
    assert [len(one["predicted"]) for one in windowed] == [len(row["tokens"]) for row in dev]
    report = heldout(home)
    expected, said, both = matched((row["tags"], one["predicted"]) for row, one in zip(dev, windowed, strict=True))
    assert report["tag.f1"] == pytest.approx(2 * both / (expected + said))
    assert report["tag.f1"] > 0.3
    assert Answerer(str(home), length=32, precision="fp32").evaluate_rows(dev) == pytest.approx(report, abs=1e-4)
    true = [tag for row in dev for tag in row["tags"]]
    flat = [tag for one in windowed for tag in one["predicted"]]
    assert report["tag.accuracy"] == pytest.approx(metrics.accuracy_score(true, flat))


@pytest.mark.parametrize("kind", ["conll", "csv"])
def test_tokens_of_every_kind_of_file(pretrained: Path, tmp_path: Path, kind: str) -> None:
    made = sentences(40, 1)
    rows = runs.write_rows(tmp_path / "rows.jsonl", made)
    other = tmp_path / f"rows.{kind}"
    if kind == "conll":
        blocks = ["".join(f"{a} - {b}\n" for a, b in zip(row["tokens"], row["tags"], strict=True)) for row in made]
        other.write_text("\n".join(blocks), encoding="utf-8")
    else:
        runs.write_rows(other, [{key: " ".join(value) for key, value in row.items()} for row in made])
    settings = {"task": "tag", "train__steps": 2, "data__dev": str(rows)}
    one, two = (
        runs.done(runs.finetuning(pretrained, path, tmp_path / path.suffix[1:] / "run", **settings))
        for path in (rows, other)
    )
    assert runs.same_weights(one, two)
