"""What a fine-tuned model gets wrong: the confusion matrix, the worst rows, and the card."""

from __future__ import annotations

import csv
import json
import math
from math import log
from pathlib import Path
from typing import Any

import pytest
import runs
from samples import tokenizer
from small_rows import choices, pairs, questions, sentences, several_labels

from bertwright.data.rows import Rows
from bertwright.run.answering import Answerer
from bertwright.run.mistakes import KEPT, for_card, write
from bertwright.tasks.base import Confusion, Verdict, Verdicts
from bertwright.tasks.squad import judged


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


def test_the_worst_are_json_whatever_numbers_their_rows_have(tmp_path: Path) -> None:
    rows = Rows([{"text": "船", "year": math.inf}], tokenizer(), 24)
    write(tmp_path, Verdicts([Verdict("a", "b", math.nan, 1.0)]), rows)
    line = json.loads((tmp_path / "worst.jsonl").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert (line["year"], line["probability"], line["loss"]) == (None, None, 1.0)


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
    counts = {("a|b", "c"): 3, ("c", "a|b"): 1, ("c", "c"): 1}
    lines = for_card(Verdicts([], Confusion(("a|b", "c"), counts, "rows")))
    assert lines[2] == "Of 5 held-out rows 4 were given a wrong class."
    assert lines[6:8] == ["| a\\|b | c | 3 |", "| c | a\\|b | 1 |"]
    right = Confusion(("c",), {("c", "c"): 1}, "rows")
    assert not [line for line in for_card(Verdicts([], right)) if line.startswith("|")]


SIDES = {"first": "a", "second": "b"}


def wrong_by(task: str, answer: dict[str, Any]) -> float:
    """How far off an answer is, from the row's own columns, which stand beside it."""
    if task == "regress":
        return (answer["score"] - answer["predicted"]) ** 2
    if task == "embed":
        return (answer["score"] / 2 - answer["predicted"]) ** 2
    if task == "multilabel":
        shares = answer["probabilities"].items()
        return sum(-log(p if name in answer["labels"] else 1 - p) for name, p in shares) / len(shares)
    if task == "choice":
        return -log(answer["probabilities"][answer["label"]])
    if task == "tag":
        return sum(true != said for true, said in zip(answer["tags"], answer["predicted"], strict=True))
    return 1 - judged(answer["predicted"], [one["text"] for one in answer["answers"]])[1]


@pytest.mark.parametrize(
    ("task", "made", "settings"),
    [
        ("regress", pairs(40, 2), SIDES),
        ("embed", pairs(40, 2), SIDES),
        ("multilabel", several_labels(40, 2), {}),
        ("choice", choices(40, 2), {}),
        ("tag", sentences(40, 2), {}),
        ("span", questions(40, 2), {}),
    ],
)
def test_every_task_lists_its_worst_rows(
    pretrained: Path, tmp_path: Path, task: str, made: list[dict[str, Any]], settings: dict[str, str]
) -> None:
    path = runs.write_rows(tmp_path / "rows.jsonl", made)
    changes = {"task": task, "tasks": {task: settings}, "data__dev": str(path), "train__lr": 2e-3}
    home = runs.done(runs.finetuning(pretrained, path, tmp_path / "run", **changes))
    answers = list(Answerer(str(home), length=32, precision="fp32").predict(made))
    said, losses = [one["predicted"] for one in answers], [wrong_by(task, one) for one in answers]
    lines = [json.loads(line) for line in (home / "worst.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["loss"] for line in lines] == pytest.approx(sorted(losses, reverse=True), abs=1e-4)
    assert len(set(losses)) > 1
    for line in lines:
        at = int(line["row"].rpartition(":")[2]) - 1
        assert made[at].items() <= line.items()
        assert line["loss"] == pytest.approx(losses[at], abs=1e-4)
        assert line["said"] == (pytest.approx(said[at], abs=1e-4) if task in ("regress", "embed") else said[at])
    assert "`worst.jsonl`" in (home / "model" / "README.md").read_text(encoding="utf-8")
    assert (home / "confusion.csv").exists() == (task == "tag")


def test_tags_are_counted_by_token(pretrained: Path, tmp_path: Path) -> None:
    made = sentences(40, 2)
    path = runs.write_rows(tmp_path / "rows.jsonl", made)
    changes = {"task": "tag", "data__dev": str(path), "train__lr": 2e-3}
    home = runs.done(runs.finetuning(pretrained, path, tmp_path / "run", **changes))
    said = [one["predicted"] for one in Answerer(str(home), length=32, precision="fp32").predict(made)]
    tokens = [pair for row, tags in zip(made, said, strict=True) for pair in zip(row["tags"], tags, strict=True)]
    with open(home / "confusion.csv", encoding="utf-8", newline="") as file:
        first, *lines = list(csv.reader(file))
    found = {(line[0], name): int(n) for line in lines for name, n in zip(first[1:], line[1:], strict=True)}
    assert found == {pair: tokens.count(pair) for pair in found}
    assert sum(found.values()) == len(tokens)
    assert f"Of {len(tokens)} held-out tokens" in (home / "model" / "README.md").read_text(encoding="utf-8")
