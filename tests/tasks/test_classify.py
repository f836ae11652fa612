"""Classification: classes, mistakes in the data, and metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import batch_of, examples, model, rows, tokenizer
from sklearn import metrics
from transformers import BertConfig

from bertwright.data.pack import pack
from bertwright.data.rows import Rows
from bertwright.errors import InputError, RecipeError
from bertwright.run.choose import task_of
from bertwright.sums import add
from bertwright.tasks.classes import balanced, macro_f1, matthews
from bertwright.tasks.classify import Classify
from bertwright.text.formats import LabelledRow

CONFUSIONS = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 12), min_size=n, max_size=n), min_size=n, max_size=n)
)


def rows_of(*fields: Mapping[str, Any], length: int = 24) -> Rows:
    return Rows(fields, tokenizer(), length)


def labelled(*labels: Any) -> Rows:
    return rows_of(*({"text": "the boat", "label": label} for label in labels))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(CONFUSIONS)
@example([[5, 0], [0, 0]])
@example([[0, 5], [0, 0]])
@example([[0, 0, 0], [0, 3, 0], [0, 4, 0]])
@example([[10**6, 3], [2, 10**6]])
def test_metrics_are_scikit_learns(counts: list[list[int]]) -> None:
    confusion = torch.tensor(counts, dtype=torch.float64)
    if not confusion.sum():
        assert (macro_f1(confusion), matthews(confusion)) == (0, 0)
        return
    pairs = [(true, said) for true in range(len(counts)) for said in range(len(counts)) if counts[true][said]]
    share = [counts[true][said] for true, said in pairs]
    true, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    task = Classify(classes=tuple(map(str, range(len(counts)))))
    report = task.report({"classify.loss": torch.tensor(3.0), "classify.confusion": confusion})
    assert report["classify.accuracy"] == pytest.approx(metrics.accuracy_score(true, said, sample_weight=share))
    f1 = metrics.f1_score(true, said, average="macro", sample_weight=share)
    assert report["classify.macro_f1"] == pytest.approx(f1)
    labels = np.repeat(true, share), np.repeat(said, share)
    # scikit-learn warns where there is one label only; both call that 0.
    correlation = metrics.matthews_corrcoef(*labels) if len({*true, *said}) > 1 else 0.0
    assert report["classify.matthews"] == pytest.approx(correlation, abs=1e-9)
    assert report["classify.loss"] == pytest.approx(3 / sum(share))
    assert task.score(report) == report["classify.accuracy"]


@torch.no_grad()
def test_the_confusion_is_what_the_model_says() -> None:
    task = Classify().settled(rows(Classify()))
    assert isinstance(task, Classify)
    whole = model(task, 200).eval()
    group = examples(task, rows(task))
    batch = batch_of(task, group, tokenizer().vocabulary, 1)
    loss = whole(batch)
    said = task.logits(whole.encoder, whole.head, batch)["classify"].argmax(-1)
    true = torch.tensor([one.labels["classify"] for one in group])
    confusion = metrics.confusion_matrix(true, said, labels=[0, 1])
    assert loss.measures["classify.confusion"].tolist() == confusion.tolist()
    halves = [whole(batch_of(task, part, tokenizer().vocabulary, 1)).measures for part in (group[:5], group[5:])]
    assert add(halves)["classify.confusion"].tolist() == confusion.tolist()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("sport arts news arts".split(), ("arts", "news", "sport")),
        ([10, 9, 2, 10], ("2", "9", "10")),
        (["10", "9", "-1", "2.5"], ("-1", "2.5", "9", "10")),
        ([True, False], ("false", "true")),
        ([1.0, 0.0, 2.5], ("0", "1", "2.5")),
        (["b", "7", "a", "10"], ("7", "10", "a", "b")),
        (["да", "нет", "да"], ("да", "нет")),
        (["坏", "好"], ("坏", "好")),
    ],
)
def test_classes_are_sorted_numbers_by_size(labels: list[Any], classes: tuple[str, ...]) -> None:
    settled = Classify().settled(labelled(*labels, *labels))
    assert settled.classes == classes
    assert settled.settled(labelled("x", "y")) is settled


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.permutations(["nan", "3", "1", "NaN", "x", "-inf", "2", "nan "]))
def test_classes_do_not_depend_on_the_order_of_rows(labels: list[str]) -> None:
    """ "nan" is a label like another, though Python takes it for a number that is neither smaller nor larger."""
    task = Classify()
    assert task.settled(labelled(*labels, *labels)).classes == ("-inf", "1", "2", "3", "NaN", "nan", "nan ", "x")


@pytest.mark.parametrize("labels", [["a"], ["a", "a"], []])
def test_one_class_is_refused(labels: list[str]) -> None:
    with pytest.raises(InputError, match=r"column 'label' holds \d class; at least 2 are needed"):
        Classify().settled(labelled(*labels))


def test_a_label_is_the_same_in_every_kind_of_file() -> None:
    task = Classify().settled(labelled("true", "false", "1", "true", "false", "1"))
    some = labelled(True, "true", False, 1, 1.0, math.nan, None)
    assert [one.labels.get("classify") for one in examples(task, some)] == [2, 2, 1, 0, 0, None, None]
    answers = [{"predicted": "1", "probability": 1.0, "probabilities": dict.fromkeys(task.classes, 0.5)}] * 5
    assert [one.true for one in task.verdicts(some[:5], answers).rows] == ["true", "true", "false", "1", "1"]
    with pytest.raises(InputError, match="column 'label' is missing or empty"):
        Classify().settled(some)


@pytest.mark.parametrize(("text", "kind"), [(["the boat"], "list"), ({"en": "the boat"}, "dict")])
def test_a_text_is_no_list(text: Any, kind: str) -> None:
    some = rows_of(*[LabelledRow({"text": text, "label": "a"}, "a.jsonl:1")] * 2)
    for read in (Classify().settled, lambda found: examples(Classify(classes=("a", "b")), found)):
        with pytest.raises(InputError, match=f"a.jsonl:1: column 'text' holds a {kind}, not text"):
            read(some)


def test_a_text_may_be_a_number() -> None:
    one, other = (examples(Classify(), rows_of({"text": text})) for text in (12, "12"))
    assert one[0].ids.tolist() == other[0].ids.tolist()


@pytest.mark.parametrize("task", ["classify", "pair", "multilabel", "tag"])
def test_a_class_named_twice_is_refused(task: str) -> None:
    with pytest.raises(RecipeError, match=rf"{task}.classes names 'a' twice; each class is named once"):
        task_of(task, {task: {"classes": ("a", "b", "a")}})


def test_a_class_of_one_row_is_refused_unless_it_is_named() -> None:
    some = rows_of(
        *(LabelledRow({"text": "x", "label": label}, f"a.csv:{at}") for at, label in enumerate("aabab船", 2))
    )
    with pytest.raises(InputError, match=r"a.csv:7: class '船' has this one example; .* in tasks.classify.classes"):
        Classify().settled(some)
    task = Classify(classes=("a", "b", "船"))
    assert task.settled(some) is task


def test_balanced_weights_make_classes_weigh_alike() -> None:
    labels = ["да"] * 6 + ["нет"] * 2 + ["?"] * 4
    task = Classify(weights="balanced").settled(labelled(*labels))
    assert task.weights == {"?": 1.0, "да": 12 / 18, "нет": 2.0}
    assert sum(task.weights[label] for label in labels) == pytest.approx(len(labels))
    assert balanced(("a", "b"), {"a": 3}) == {"a": 0.5, "b": 1.0}
    again = Classify(weights="balanced", classes=("?", "да", "нет")).settled(labelled(*labels))
    assert again == task


def test_weights_are_torchs_and_leave_the_reported_loss_alone() -> None:
    plain, weighted = Classify(classes=("0", "1")), Classify(classes=("0", "1"), weights={"1": 3.0})
    batch = batch_of(plain, examples(plain, rows(plain)), tokenizer().vocabulary, 1)
    one, other = model(plain, 200).eval()(batch), model(weighted, 200).eval()(batch)
    whole = model(plain, 200).eval()
    logits = whole.task.logits(whole.encoder, whole.head, batch)["classify"]
    true = batch.labels["classify"].values
    expected = torch.nn.functional.cross_entropy(logits, true, torch.tensor([1.0, 3.0]), reduction="sum")
    torch.testing.assert_close(other.totals["classify"], expected)
    assert other.totals["classify"] > one.totals["classify"]
    torch.testing.assert_close(other.measures["classify.loss"], one.measures["classify.loss"])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("even", "classify.weights is 'balanced' or a table of numbers, not 'even'"),
        ({"a": 0}, "classify.weights.a is a number above 0, not 0"),
        ({"a": True}, "classify.weights.a is a number above 0, not True"),
        ({"c": 2.0}, "classify.weights names 'c', and the classes are 'a', 'b'"),
    ],
)
def test_weights_that_are_none(weights: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        task_of("classify", {"classify": {"classes": ["a", "b"], "weights": weights}})


def test_an_unknown_label_names_the_known_ones() -> None:
    task = Classify(classes=("arts", "news"))
    with pytest.raises(InputError, match="label 'sport' is unknown to the model, whose classes are 'arts', 'news"):
        examples(task, labelled("arts", "sport"))
    many = Classify(classes=tuple(map(str, range(50))))
    with pytest.raises(InputError, match=r"'18', '19', \.\.\.$"):
        examples(many, labelled("x"))


@pytest.mark.parametrize("fields", [{"text": "the boat"}, {"text": "the boat", "label": None}])
def test_a_missing_label_is_refused_where_it_is_needed(fields: dict[str, Any]) -> None:
    task = Classify(classes=("a", "b"))
    with pytest.raises(InputError, match="column 'label' is missing or empty; the columns are text"):
        Classify().settled(rows_of(fields))
    group = examples(task, rows_of({"text": "rain", "label": "a"}, fields))
    with pytest.raises(InputError, match="without a label cannot be learned from or judged"):
        batch_of(task, group, tokenizer().vocabulary, 1)


@pytest.mark.parametrize("fields", [{"label": "a", "review": "x"}, {"text": None, "label": "a", "review": "x"}])
def test_a_missing_text_names_the_columns(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"column 'text' is missing or empty; the columns are .*label, review"):
        examples(Classify(classes=("a", "b")), rows_of(fields))


def test_a_file_without_a_line_of_names_is_shown_in_part() -> None:
    with pytest.raises(InputError, match=r"the columns are x{40}, b \(docs/tasks.md says how to name others"):
        examples(Classify(classes=("a", "b")), rows_of({"x" * 99: "y", "b": "z"}))


def test_columns_of_another_name() -> None:
    task = Classify(text_field="review", label_field="stars")
    some = rows_of({"review": "船 boat", "stars": 5}, {"review": "дождь", "stars": 1})
    settled = task.settled(rows_of(*(row.fields for row in [*some, *some])))
    assert settled.classes == ("1", "5")
    assert [one.labels for one in examples(settled, some)] == [{"classify": 1}, {"classify": 0}]
    assert settled.answer_field == "stars"


@pytest.mark.parametrize(("text", "tokens"), [("", 0), (7, 1), ("the boat " * 40, 22), ("[SEP] [MASK]", 6)])
def test_text_is_framed_and_cut(text: Any, tokens: int) -> None:
    (one,) = examples(Classify(classes=("a", "b")), rows_of({"text": text, "label": "b"}))
    own = tokenizer().vocabulary
    assert (one.ids[0], one.ids[-1], len(one)) == (own.cls, own.sep, tokens + 2)
    assert one.ids.dtype == np.int64
    assert not set(one.ids[1:-1].tolist()) & {own.cls, own.sep, own.mask}


@torch.no_grad()
def test_answers_are_probabilities() -> None:
    task = Classify(classes=("arts", "news", "sport"))
    whole = model(task, 200).eval()
    unlabelled = rows_of(*({"text": row.fields["text"]} for row in rows(task)), {"text": ""})
    batch = pack(examples(task, unlabelled), tokenizer().vocabulary)
    answers = task.answers(whole.encoder, whole.head, batch)
    said = task.logits(whole.encoder, whole.head, task.asks(batch))["classify"].softmax(-1)
    assert len(answers) == len(batch) == 22
    for answer, share in zip(answers, said, strict=True):
        assert list(answer["probabilities"]) == list(task.classes)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["probability"] == answer["probabilities"][answer["predicted"]]
        assert answer["probability"] == max(answer["probabilities"].values())
        assert list(answer["probabilities"].values()) == pytest.approx(share.tolist(), abs=1e-6)
    assert len({round(answer["probability"], 4) for answer in answers}) > 1


def test_a_head_goes_on_only_with_the_same_classes() -> None:
    task = Classify(classes=("a", "b"), pooling="cls")
    config = model(task, 200).encoder.config
    for key, value in task.config_changes().items():
        setattr(config, key, value)
    assert Classify.of_config(config) == task
    assert task.continues("classifier.weight", config)
    for classes in (("b", "a"), ("a", "b", "c"), ("a",)):
        other = replace(task, classes=classes)
        assert not other.continues("classifier.bias", config)
        assert other.continues("bert.pooler.dense.weight", config)


def test_more_than_ten_classes_keep_their_order() -> None:
    """A config's classes come back from JSON as text keys, where "10" stands before "2"."""
    task = Classify(classes=tuple(f"c{n}" for n in range(12)), pooling="cls")
    config = BertConfig(**task.config_changes())
    assert Classify.of_config(BertConfig.from_dict(config.to_dict())) == task
    assert Classify.of_config(BertConfig.from_dict(json.loads(config.to_json_string()))) == task
