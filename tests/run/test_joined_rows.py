"""`--task classify+mlm`: a classifier that goes on learning the language of its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import runs
from transformers import pipeline

from bertwright.errors import RecipeError
from bertwright.run.answering import Answerer, filler
from bertwright.run.choose import task_of
from bertwright.run.provenance import Provenance
from bertwright.run.spec import Recipe
from bertwright.tasks.joint import Joint
from bertwright.tasks.mlm import MaskedLM

LONG_ENOUGH = {"train__steps": 48, "train__lr": 2e-3, "evaluate__every": 16, "train__dropout": 0.1}
LIGHT = {"tasks__weights__mlm": 0.1}


@pytest.fixture(scope="module", params=["classify+mlm", "mlm+classify"])
def home(request: pytest.FixtureRequest, pretrained: Path, labelled: Path, base: Path) -> Path:
    out = base / "joined" / request.param
    return runs.done(runs.finetuning(pretrained, labelled, out, task=request.param, **LONG_ENOUGH, **LIGHT))


def test_both_are_reported_and_the_classifier_decides(home: Path) -> None:
    record = Provenance.read(home / "model")
    assert record is not None
    assert {name.partition(".")[0] for name in record.heldout} == {"mlm", "classify"}
    assert record.kind == "fine-tuning"
    lines = [line["heldout"] for line in runs.metrics(home) if "heldout" in line]
    assert record.heldout["classify.accuracy"] == max(line["classify.accuracy"] for line in lines)
    assert all("mlm.loss" in line and "classify.loss" in line for line in runs.metrics(home) if "lr" in line)


def test_it_answers_with_nothing_hidden_as_transformers_does(home: Path) -> None:
    rows = runs.rows(30, seed=4)
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu")
    said = theirs([row["text"] for row in rows])
    ours = list(Answerer(str(home), precision="fp32").predict(rows))
    assert [answer["probability"] for answer in ours] == pytest.approx([one["score"] for one in said], abs=1e-5)
    assert {answer["predicted"] for answer in ours} == {"sea", "сад"}
    report = Answerer(str(home), precision="fp32").evaluate_rows(rows)
    right = [answer["predicted"] == answer["label"] for answer in ours]
    assert report["classify.accuracy"] == pytest.approx(sum(right) / 30)
    assert "mlm.loss" in report
    assert json.loads((home / "model" / "config.json").read_text())["architectures"] == [
        "BertForSequenceClassification"
    ]


def test_a_layer_that_both_read_through_is_one(store: Path, labelled: Path, base: Path) -> None:
    """ModernBERT's: the checkpoint is its classifier, and its masked LM."""
    modern = {"encoder.arch": "modern", "train__steps": 4}
    start = runs.done(runs.pretraining(store, base / "joined" / "modern", task="mlm", **modern))
    out = base / "joined" / "modern-joined"
    home = runs.done(runs.finetuning(start, labelled, out, task="classify+mlm", **LONG_ENOUGH, **LIGHT))
    config = json.loads((home / "model" / "config.json").read_text())
    assert config["architectures"] == ["ModernBertForSequenceClassification"]
    rows = runs.rows(10, seed=4)
    said = pipeline("text-classification", model=str(home / "model"), device="cpu")([row["text"] for row in rows])
    ours = list(Answerer(str(home), precision="fp32").predict(rows))
    assert [answer["probability"] for answer in ours] == pytest.approx([one["score"] for one in said], abs=1e-5)
    text = "The captain saw the [MASK]."
    theirs = pipeline("fill-mask", model=str(home / "model"), device="cpu", top_k=3)(text)
    (words,) = Answerer(str(home), MaskedLM(), precision="fp32").fill(text, top=3)
    assert [share for _, share in words] == pytest.approx([one["score"] for one in theirs], abs=1e-5)


def test_it_still_fills_masks(home: Path) -> None:
    ((words),) = filler(str(home)).fill("The captain saw the [MASK].", top=2)
    assert len(words) == 2


@pytest.mark.parametrize("task", ["mlm+choice", "bow+choice"])
def test_a_choice_has_several_sequences_a_row(task: str, pretrained: Path, tmp_path: Path) -> None:
    endings = ["left the harbour .", "was warm .", "slept under the snow ."]
    choices = [{"prompt": "The captain", "endings": endings[: 2 + at % 2], "label": at % 2} for at in range(12)]
    rows = tmp_path / "choices.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in choices))
    home = runs.done(runs.finetuning(pretrained, rows, tmp_path / "out", task=task, train__steps=4))
    record = Provenance.read(home / "model")
    assert record is not None
    assert {name.partition(".")[0] for name in record.heldout} == {*task.split("+")}
    assert [len(answer["probabilities"]) for answer in Answerer(str(home)).predict(choices)] == [2, 3] * 6


def test_killed_and_started_again(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    def tables(name: str) -> dict[str, Any]:
        changes = LONG_ENOUGH | {"train__steps": 6, "evaluate__every": 2, "train__micro_tokens": 64}
        return runs.finetuning(pretrained, labelled, tmp_path / name, task="classify+mlm", **changes)

    with pytest.raises(runs.Killed):
        runs.done(tables("broken"), runs.killed_at(5))
    broken, unbroken = runs.done(tables("broken")), runs.done(tables("unbroken"))
    assert runs.metrics(broken) == runs.metrics(unbroken)
    assert runs.same_weights(broken, unbroken)


def test_a_part_of_a_sum_has_a_weight(home: Path, pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    """It is a setting of the recipe, and decides what is learned."""
    recipe = Recipe.read(home / "recipe.toml")
    assert recipe.tasks["weights"] == {"mlm": 0.1, "classify": 1.0}
    task = task_of(recipe.task, recipe.tasks)
    assert isinstance(task, Joint)
    assert dict(zip((part.name for part in task.parts), task.weights, strict=True)) == {"mlm": 0.1, "classify": 1.0}
    changes = {"task": recipe.task, "train__steps": 2}
    one, other = (
        runs.done(runs.finetuning(pretrained, labelled, tmp_path / str(weight), **changes, tasks__weights__mlm=weight))
        for weight in (1.0, 0.5)
    )
    assert not runs.same_weights(one, other)


@pytest.mark.parametrize("weight", [-1, "much", True, float("nan"), float("inf")])
def test_a_weight_is_a_number(weight: Any) -> None:
    with pytest.raises(RecipeError, match=r"tasks\.weights\.mlm is a number, not |are numbers of at least 0"):
        task_of("classify+mlm", {"weights": {"mlm": weight}})


def test_a_task_alone_has_no_weight() -> None:
    with pytest.raises(RecipeError, match=r"\[tasks.weights\] is set, and the run's task is mlm"):
        task_of("mlm", {"weights": {"mlm": 1.0}})
