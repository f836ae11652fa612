"""Several labels a text: how they are written, and measures as scikit-learn has them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, examples, model, tokenizer
from sklearn import metrics

from bertwright.data.pack import pack
from bertwright.data.rows import Rows
from bertwright.errors import InputError, RecipeError
from bertwright.sums import add
from bertwright.tasks.multilabel import MultiLabel
from bertwright.text.formats import LabelledRow

CLASSES = ("2", "10", "море", "船")


def rows_of(*labels: Any) -> Rows:
    made = (LabelledRow({"text": f"the boat {at}", "labels": x}, f"m.csv:{at}") for at, x in enumerate(labels, 2))
    return Rows(made, tokenizer(), 24)


@pytest.mark.parametrize(
    "labels",
    [["10,море", " 船 , 2", ""], [["10", "море"], ["船", 2, "2"], []], ['["10", "море"]', "['船', 2, '2']", "[]"]],
)
def test_labels_are_a_list_or_a_text_with_commas(labels: list[Any]) -> None:
    some = rows_of(*labels)
    task = MultiLabel().settled(rows_of(*labels, *labels))
    assert task.classes == CLASSES
    assert [one.labels["multilabel"] for one in examples(task, some)] == [[1, 2], [0, 3], []]
    other = replace(task, separator="море")
    assert examples(other, rows_of("10море2"))[0].labels["multilabel"] == [0, 1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a,b", "c"], "m.csv:3: label 'c' is unknown to the model, whose classes are 'a', 'b'"),
        (["a", "[a, b]"], "m.csv:3: column 'labels' holds '.a, b.', which is no list in JSON's or Python's spelling"),
        (["a", "['a' 'b']"], "m.csv:3: column 'labels' holds .*, which is no list in JSON's or Python's spelling"),
        (["a", 7], "m.csv:3: column 'labels' holds 7; accepted are a list, and a text with ',' between"),
    ],
)
def test_labels_that_are_none(labels: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        examples(MultiLabel(classes=("a", "b")), rows_of(*labels))


def test_blank_labels_are_none() -> None:
    task = MultiLabel(classes=("1", "a", "true"))
    found = examples(task, rows_of([" a ", "", " ", None, math.nan], [1.0, True], math.nan))
    assert [one.labels.get("multilabel") for one in found] == [[1], [0, 2], None]


def test_a_single_label_in_all_is_refused() -> None:
    with pytest.raises(InputError, match="column 'labels' holds 1 class; at least 2 are needed"):
        MultiLabel().settled(rows_of("a", "a", ""))
    with pytest.raises(InputError, match=r"m.csv:4: class 'b' has this one example; .* in tasks.multilabel.classes"):
        MultiLabel().settled(rows_of("a", "a", "b,a"))
    with pytest.raises(InputError, match=r"m.csv:3: column 'labels' is missing or empty"):
        MultiLabel().settled(rows_of("a", None))
    with pytest.raises(RecipeError, match=r"multilabel.threshold is a probability between 0 and 1, not 1"):
        MultiLabel(threshold=1.0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from(CLASSES)), min_size=2, max_size=8))
@torch.no_grad()
def test_measures_are_scikit_learns(labels: list[list[str]]) -> None:
    task = MultiLabel(classes=CLASSES, threshold=0.4)
    whole, group = model(task, 200).eval(), examples(task, rows_of(*labels))
    batch = batch_of(task, group, tokenizer().vocabulary, 1)
    logits = task.logits(whole.encoder, whole.head, batch)["multilabel"]
    true, said = batch.labels["multilabel"].values.numpy(), (logits.sigmoid() >= 0.4).int().numpy()
    halves = [whole(batch_of(task, part, tokenizer().vocabulary, 1)).measures for part in (group[:1], group[1:])]
    report = task.report(add(halves))
    occur = (true.sum(0) + said.sum(0)) > 0
    assert report["multilabel.micro_f1"] == pytest.approx(
        metrics.f1_score(true, said, average="micro", zero_division=0)
    )
    macro = metrics.f1_score(true[:, occur], said[:, occur], average="macro", zero_division=0) if occur.any() else 0.0
    assert report["multilabel.macro_f1"] == pytest.approx(macro)
    assert report["multilabel.exact"] == pytest.approx(np.mean((true == said).all(1)))
    bce = torch.nn.BCEWithLogitsLoss()(logits, torch.from_numpy(true))
    assert report["multilabel.loss"] == pytest.approx(float(bce), rel=1e-5)
    answers = task.answers(whole.encoder, whole.head, pack(group, tokenizer().vocabulary))
    for answer, row in zip(answers, said, strict=True):
        assert answer["predicted"] == [name for name, one in zip(CLASSES, row, strict=True) if one]
        assert list(answer["probabilities"]) == list(CLASSES)


def test_a_config_says_that_labels_are_several() -> None:
    task = MultiLabel(classes=CLASSES, pooling="cls")
    config = model(task, 200).encoder.config
    for key, value in task.config_changes().items():
        setattr(config, key, value)
    config.architectures = ["BertForSequenceClassification"]
    assert MultiLabel.made(config)
    assert MultiLabel.of_config(config) == task
    assert task.continues("classifier.weight", config)
    assert not replace(task, classes=CLASSES[::-1]).continues("classifier.weight", config)
