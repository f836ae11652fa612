"""What a fine-tuned model gets wrong: the confusion matrix, the worst rows, and the card."""

from __future__ import annotations

import csv
import json
from math import log
from pathlib import Path

import pytest
import runs

from bertwright.run.answering import Answerer
from bertwright.run.mistakes import KEPT, for_card
from bertwright.tasks.base import Verdict, Verdicts


@pytest.fixture(scope="module", params=["classify", "classify+mlm"])
def home(request: pytest.FixtureRequest, pretrained: Path, labelled: Path, base: Path) -> Path:
    dev = runs.rows(130, seed=9)
    for row in dev[::7]:
        row["label"] = {"sea": "сад", "сад": "sea"}[row["label"]]
    path = runs.write_rows(base / "dev with mistakes.jsonl", dev)
    changes = {"data__dev": str(path), "train__steps": 8, "train__lr": 2e-3, "task": request.param}
    return runs.done(runs.finetuning(pretrained, labelled, base / "mistakes" / request.param, **changes))


def dev_of(base: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (base / "dev with mistakes.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_row_is_counted_once(home: Path, base: Path) -> None:
    said = [one["predicted"] for one in Answerer(str(home), length=32, precision="fp32").predict(dev_of(base))]
    with open(home / "confusion.csv", encoding="utf-8", newline="") as file:
        first, *lines = list(csv.reader(file))
    assert first == ["true", "sea", "сад"]
    found = {(line[0], name): int(n) for line in lines for name, n in zip(first[1:], line[1:], strict=True)}
    pairs = [(row["label"], one) for row, one in zip(dev_of(base), said, strict=True)]
    assert found == {pair: pairs.count(pair) for pair in found}
    assert sum(found.values()) == 130


def test_the_worst_come_first(home: Path, base: Path) -> None:
    answers = list(Answerer(str(home), length=32, precision="fp32").predict(dev_of(base)))
    lines = [json.loads(line) for line in (home / "worst.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == KEPT
    losses = [-log(answer["probabilities"][answer["label"]]) for answer in answers]
    assert [line["loss"] for line in lines] == pytest.approx(sorted(losses, reverse=True)[:KEPT], abs=1e-5)
    for line in lines:
        name, _, number = line["row"].rpartition(":")
        row, answer = dev_of(base)[int(number) - 1], answers[int(number) - 1]
        assert Path(name).name == "dev with mistakes.jsonl"
        assert (line["text"], line["true"]) == (row["text"], row["label"])
        assert line["said"] == answer["predicted"]
        assert line["probability"] == pytest.approx(answer["probability"], abs=1e-5)


def test_the_card_names_them(home: Path) -> None:
    card = (home / "model" / "README.md").read_text(encoding="utf-8")
    assert "## Mistakes" in card
    assert "Of 130 held-out rows " in card
    assert "`confusion.csv`" in card
    assert "`worst.jsonl`" in card
    assert "pipeline_tag: text-classification" in card


def test_tasks_on_text_have_none(pretrained: Path) -> None:
    assert not (pretrained / "confusion.csv").exists()
    assert "Mistakes" not in (pretrained / "model" / "README.md").read_text(encoding="utf-8")


def test_the_commonest_mistakes_are_on_the_card() -> None:
    wrong = [Verdict("a|b", "c", 0.9, 2.0)] * 3 + [Verdict("c", "a|b", 0.6, 1.0)] + [Verdict("c", "c", 0.9, 0.1)]
    lines = for_card(Verdicts(("a|b", "c"), wrong))
    assert lines[2] == "Of 5 held-out rows 4 were given a wrong class."
    assert lines[6:8] == ["| a\\|b | c | 3 |", "| c | a\\|b | 1 |"]
    assert not [line for line in for_card(Verdicts(("c",), wrong[-1:])) if line.startswith("|")]
