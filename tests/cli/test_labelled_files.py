"""Tasks on rows from the command line: every kind of file, columns of any name, what is printed, what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs
from small_rows import changed, choices, pairs, questions, sentences, several_labels, write_conll, write_squad

from bertwright.run.spec import load

Call = Callable[..., Any]
FEW = ("--steps", 2, "--batch-size", 4, "--length", 48)
SIDES = ("--set", "tasks.{0}.first=a", "--set", "tasks.{0}.second=b")
WRITERS = {".conll": write_conll, ".json": write_squad}


def write(path: Path, made: list[dict[str, Any]]) -> Path:
    return WRITERS.get(path.suffix, runs.write_rows)(path, made)


def settings_of(task: str) -> list[str]:
    return [word.format(task) for word in SIDES] if task in ("pair", "regress", "embed") else []


NOTES = [{"stars": row["label"], "note": "-", "отзыв": row["text"]} for row in runs.rows(16)]
PAIRS, TOKENS, ASKED, CHOICES, LABELS = (make(16, 1) for make in (pairs, sentences, questions, choices, several_labels))
WITH_COMMAS = [{**row, "labels": ", ".join(row["labels"])} for row in LABELS]
IN_COLUMNS = [
    {"prompt": row["prompt"], "first": row["endings"][0], "second": row["endings"][1], "label": row["label"]}
    for row in CHOICES
    if row["label"] < 2
]
NAMES = ("--text-field", "отзыв", "--label-field", "stars")
ENDINGS = ("--set", 'tasks.choice.endings=["first", "second"]')


@pytest.mark.parametrize(
    ("task", "file", "made", "words", "said"),
    [
        *(("classify", f"a.{kind}", NOTES, NAMES, "accuracy") for kind in ("jsonl", "csv", "tsv", "parquet")),
        *(("pair", f"a.{kind}", PAIRS, (), "accuracy") for kind in ("jsonl", "csv", "tsv", "parquet")),
        ("regress", "a.csv", PAIRS, (), "pearson"),
        ("multilabel", "a.jsonl", LABELS, (), "micro_f1"),
        ("multilabel", "a.csv", WITH_COMMAS, (), "micro_f1"),
        ("tag", "a.conll", TOKENS, (), "f1"),
        ("tag", "a.parquet", TOKENS, (), "f1"),
        ("span", "a.json", ASKED, (), "exact"),
        ("span", "a.jsonl", ASKED, (), "exact"),
        ("choice", "a.jsonl", CHOICES, (), "accuracy"),
        ("choice", "a.csv", IN_COLUMNS, ENDINGS, "accuracy"),
        ("embed", "a.tsv", [{"a": row["a"], "b": row["b"]} for row in PAIRS], (), "accuracy"),
    ],
)
def test_a_file_is_learned_judged_and_answered(
    call: Call,
    pretrained: Path,
    tmp_path: Path,
    task: str,
    file: str,
    made: list[dict[str, Any]],
    words: tuple[str, ...],
    said: str,
) -> None:
    path = write(tmp_path / file, made)
    files = ("--train", path, "--dev", path, "--out", tmp_path / "run")
    learned = call("finetune", pretrained, "--task", task, *files, *FEW, *settings_of(task), *words, "--json")
    assert (learned.status, learned.err) == (0, "")
    heldout = json.loads(learned.out)["heldout"]
    assert f"{task}.{said}" in heldout
    judged = call("evaluate", tmp_path / "run", "--input", path, "--json")
    assert json.loads(judged.out) == pytest.approx(heldout, abs=1e-4)
    answers = [json.loads(line) for line in call("predict", tmp_path / "run", "--input", path).out.splitlines()]
    assert len(answers) == len(made)
    assert all({"predicted", *made[0]} <= answer.keys() for answer in answers)


def test_columns_of_a_sum_are_those_of_its_first_part(call: Call, pretrained: Path, tmp_path: Path) -> None:
    path = runs.write_rows(tmp_path / "a.jsonl", [{"body": row["text"], "mood": row["label"]} for row in runs.rows()])
    columns = ("--text-field", "body", "--label-field", "mood")
    few = ("--train", path, "--dev", path, "--out", tmp_path / "run", *FEW)
    assert call("finetune", pretrained, "--task", "classify+mlm", *few, *columns).status == 0
    settings = load(tmp_path / "run" / "recipe.toml")["tasks"]["classify"]
    assert (settings["text_field"], settings["label_field"]) == ("body", "mood")


def test_a_choice_is_answered_with_its_place_and_probabilities(call: Call, pretrained: Path, tmp_path: Path) -> None:
    path = runs.write_rows(tmp_path / "a.jsonl", CHOICES)
    assert (
        call("finetune", pretrained, "--task", "choice", "--train", path, *FEW, "--out", tmp_path / "run").status == 0
    )
    asked = runs.write_rows(tmp_path / "b.jsonl", [{"prompt": "The crew.", "endings": ["The tide.", "Сосед.", "船"]}])
    (answer,) = map(json.loads, call("predict", tmp_path / "run", "--input", asked).out.splitlines())
    assert len(answer["probabilities"]) == 3
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert answer["probabilities"][answer["predicted"]] == answer["probability"] == max(answer["probabilities"])


def test_what_is_written_is_json_whatever_numbers_a_row_has(call: Call, classifier: Path, tmp_path: Path) -> None:
    odd = [{"text": "The tide.", "year": number, "more": [{"x": number}]} for number in (math.nan, -math.inf, 1.5)]
    path = runs.write_rows(tmp_path / "a.jsonl", odd)
    lines = call("predict", classifier, "--input", path).out.splitlines()
    said = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [(row["year"], row["more"]) for row in said] == [(x, [{"x": x}]) for x in (None, None, 1.5)]


def test_of_several_labels_each_has_a_probability(call: Call, pretrained: Path, tmp_path: Path) -> None:
    path = runs.write_rows(tmp_path / "a.csv", WITH_COMMAS)
    few = ("--train", path, *FEW, "--out", tmp_path / "run")
    assert call("finetune", pretrained, "--task", "multilabel", *few).status == 0
    for line in call("predict", tmp_path / "run", "--input", path).out.splitlines():
        answer = json.loads(line)
        assert answer["probabilities"].keys() == {"море", "сад"}
        assert answer["predicted"] == [name for name, p in answer["probabilities"].items() if p >= 0.5]


@pytest.mark.parametrize(
    ("task", "made", "worse", "said"),
    [
        ("pair", PAIRS, {"label": "neither"}, "class 'neither' has this one example"),
        ("pair", PAIRS, {"b": " "}, "column 'b' is empty; a pair has text on both sides"),
        ("regress", PAIRS, {"score": "много"}, "column 'score' holds 'много'; a score is a number"),
        ("multilabel", LABELS, {"labels": 3.5}, "column 'labels' holds 3.5; accepted are a list"),
        ("tag", TOKENS, {"tags": ["O"]}, "tokens and 1 tags; each token has one"),
        ("span", ASKED, {"answers": "не здесь"}, "the answer 'не здесь' does not stand in its context"),
        ("choice", CHOICES, {"label": 9}, "label 9 is no ending; accepted are 0 to"),
        ("embed", PAIRS, {"b": None}, "column 'b' is missing or empty"),
    ],
)
def test_a_row_that_teaches_nothing_is_one_line_and_two(
    call: Call,
    pretrained: Path,
    tmp_path: Path,
    task: str,
    made: list[dict[str, Any]],
    worse: dict[str, Any],
    said: str,
) -> None:
    path = runs.write_rows(tmp_path / "a.jsonl", changed(made, 7, **worse))
    called = call(
        "finetune", pretrained, "--task", task, "--train", path, "--out", tmp_path / "run", *settings_of(task)
    )
    assert_refused(called, f"{path}:8: ", said)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("task", "made", "worse", "said"),
    [
        (
            "classify",
            runs.rows(16),
            {"label": "лес"},
            "label 'лес' is unknown to the model, whose classes are 'sea', 'сад'",
        ),
        ("pair", PAIRS, {"label": "neither"}, "label 'neither' is unknown to the model"),
        ("multilabel", LABELS, {"labels": ["лес"]}, "label 'лес' is unknown to the model"),
        ("tag", TOKENS, {"tokens": ["Москва"], "tags": ["B-CITY"]}, "tag 'B-CITY' is unknown to the model"),
        ("span", ASKED, {"answers": "не здесь"}, "the answer 'не здесь' does not stand in its context"),
        ("choice", CHOICES, {"label": 9}, "label 9 is no ending"),
    ],
)
def test_a_row_to_judge_by_that_cannot_is_one_line_and_two(
    call: Call,
    pretrained: Path,
    tmp_path: Path,
    task: str,
    made: list[dict[str, Any]],
    worse: dict[str, Any],
    said: str,
) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", made)
    dev = runs.write_rows(tmp_path / "dev.jsonl", changed(made, 4, **worse))
    files = ("--train", train, "--dev", dev, "--out", tmp_path / "run")
    assert_refused(call("finetune", pretrained, "--task", task, *files, *settings_of(task)), f"{dev}:5: ", said)
    assert not (tmp_path / "run").exists()


def test_a_finished_model_refuses_rows_in_one_line_too(call: Call, classifier: Path, tmp_path: Path) -> None:
    unknown = runs.write_rows(tmp_path / "a.jsonl", changed(runs.rows(9), 4, label="лес"))
    nothing = runs.write_rows(tmp_path / "b.csv", [{"body": "The tide."}])
    assert_refused(
        call("evaluate", classifier, "--input", unknown), f"{unknown}:5: label 'лес' is unknown to the model"
    )
    assert_refused(call("predict", classifier, "--input", nothing), f"{nothing}:2: column 'text' is missing or empty")


def test_columns_called_as_the_answer_are_not_overwritten(call: Call, classifier: Path, tmp_path: Path) -> None:
    path = runs.write_rows(tmp_path / "a.jsonl", [{"text": "The tide.", "predicted": "mine"}])
    called = call("predict", classifier, "--input", path)
    assert_refused(called, f"{path}:1: column 'predicted' has the name of a part of the answer (predicted, probability")


def test_text_too_small_for_pairs_is_one_line_and_two(call: Call, tmp_path: Path) -> None:
    alone = runs.make_store(tmp_path, runs.documents(1))
    called = call("pretrain", alone, "--objective", "mlm+ssp", "--size", "tiny", "--out", tmp_path / "run")
    assert_refused(called, "has a single document for training, and mlm+ssp takes segments from another")


def assert_refused(called: Any, *said: str) -> None:
    assert (called.status, called.out) == (2, "")
    assert called.err.startswith("bertwright: ")
    assert called.err.count("\n") == 1
    assert all(part in called.err for part in said)
