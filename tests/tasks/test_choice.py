"""Choices: their endings stay together, whatever their number, and the label names one of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from samples import batch_of, examples, model, tokenizer

from bertwright.data.pack import pack, split
from bertwright.data.rows import Rows
from bertwright.errors import InputError
from bertwright.sums import add
from bertwright.tasks.choice import Choice
from bertwright.text.formats import LabelledRow

ENDINGS = ["left the harbour", "船 在 黎明", "сад был зелёным", "rain fell for a week ."]


def rows_of(*fields: dict[str, Any], length: int = 24) -> Rows:
    return Rows((LabelledRow(f, f"c.jsonl:{at}") for at, f in enumerate(fields, 1)), tokenizer(), length)


def choice(number: int, label: Any = 0) -> dict[str, Any]:
    return {"prompt": "the boat", "endings": ENDINGS[:number], "label": label}


def test_an_example_is_a_sequence_an_ending() -> None:
    some = rows_of(choice(3, 2), choice(2, 1), choice(4))
    group = examples(Choice(), some)
    assert [len(one.lengths) for one in group] == [3, 2, 4]
    batch = batch_of(Choice(), group, tokenizer().vocabulary, 1)
    assert batch.counts == {"choice": 3}
    assert len(batch) == 9
    assert [list(one) for one in batch.examples] == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    assert batch.labels["choice"].values.tolist() == [2, 1, 0]
    for at, first in enumerate(batch.firsts.tolist()):
        assert batch.ids[first] == tokenizer().vocabulary.cls
        assert batch.positions[first] == 0
        assert max(batch.lengths) <= 24, at
    assert [group for groups in split(group, 1) for group in groups] == sorted(group, key=len, reverse=True)


@torch.no_grad()
def test_the_loss_is_that_of_transformers() -> None:
    """A row's scores against each other alone; fewer endings are not more likely for it."""
    task = Choice()
    group = examples(task, rows_of(choice(4, 3), choice(2, 0), choice(3, 1)))
    whole = model(task, 200).eval()
    losses = [float(whole(batch_of(task, [one], tokenizer().vocabulary, 1)).totals["choice"]) for one in group]
    together = whole(batch_of(task, group, tokenizer().vocabulary, 1))
    assert float(together.totals["choice"]) == pytest.approx(sum(losses), rel=1e-5)
    report = task.report(add([together.measures]))
    assert report["choice.loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert report["choice.chance"] == pytest.approx((1 / 4 + 1 / 2 + 1 / 3) / 3)
    answers = task.answers(whole.encoder, whole.head, pack(group, tokenizer().vocabulary))
    assert [len(answer["probabilities"]) for answer in answers] == [4, 2, 3]
    for answer in answers:
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert answer["probability"] == answer["probabilities"][answer["predicted"]]
    right = sum(answer["predicted"] == label for answer, label in zip(answers, (3, 0, 1), strict=True))
    assert report["choice.accuracy"] == pytest.approx(right / 3)


@pytest.mark.parametrize("label", [1, "1", "船 在 黎明"])
def test_the_right_ending_is_a_place_or_a_text(label: Any) -> None:
    (one,) = examples(Choice(), rows_of(choice(3, label)))
    assert one.labels == {"choice": 1}


@pytest.mark.parametrize(
    ("endings", "label", "place"), [("123", 1, 1), ("120", 1.0, 1), ("123", "3", 2), ("0123", "1", 1)]
)
def test_endings_that_are_numbers(endings: str, label: Any, place: int) -> None:
    (one,) = examples(Choice(), rows_of({"prompt": "the boat", "endings": [*endings], "label": label}))
    assert one.labels == {"choice": place}


@pytest.mark.parametrize(("endings", "label"), [("123", "1"), ("aab", "a"), ("20", "0")])
def test_a_label_that_can_be_two_endings_is_refused(endings: str, label: str) -> None:
    with pytest.raises(InputError, match=r"c.jsonl:1: label '.' can mean the endings 0 and 1; accepted is a place, as"):
        examples(Choice(), rows_of({"prompt": "the boat", "endings": [*endings], "label": label}))


def test_endings_of_several_columns() -> None:
    fields = {"sent1": "the boat", "ending0": "rain", "ending1": "船", "label": "1"}
    (one,) = examples(Choice(prompt="sent1", endings=("ending0", "ending1")), rows_of(fields))
    (other,) = examples(Choice(), rows_of({"prompt": "the boat", "endings": ["rain", "船"], "label": 1}))
    assert (one.ids.tolist(), one.labels) == (other.ids.tolist(), other.labels)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (choice(3, 3), "c.jsonl:2: label 3 is no ending; accepted are 0 to 2, or an ending's text"),
        (choice(3, "B"), "c.jsonl:2: label 'B' is no ending"),
        (choice(1), "c.jsonl:2: a choice has at least 2 endings and none of them empty, and endings holds"),
        ({**choice(2), "endings": ["rain", " "]}, "c.jsonl:2: a choice has at least 2 endings"),
        (
            {**choice(2), "endings": "rain"},
            r"c.jsonl:2: column 'endings' holds one text.*--set 'tasks.choice.endings=\[",
        ),
        ({**choice(2), "endings": None}, "c.jsonl:2: column 'endings' is missing or empty"),
        ({**choice(2), "prompt": ""}, "c.jsonl:2: column 'prompt' is empty"),
    ],
)
def test_rows_that_are_no_choice(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        examples(Choice(), rows_of(choice(2), fields))


def test_a_choice_without_a_label_is_answered_and_not_learned() -> None:
    group = examples(Choice(), rows_of({"prompt": "the boat", "endings": ENDINGS}))
    with pytest.raises(InputError, match="without a label cannot be learned from or judged"):
        batch_of(Choice(), group, tokenizer().vocabulary, 1)
