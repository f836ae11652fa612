"""Pairs of texts: both sides in one sequence, shortened as transformers does, and sorted into classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import examples, model, tokenizer
from transformers import AutoTokenizer

from bertwright.data.rows import Rows
from bertwright.errors import InputError
from bertwright.tasks.pair import Pair
from bertwright.text.formats import LabelledRow

CLASSES = ("нет", "да")
LONG = "the boat left the harbour at dawn . " * 3
TEXTS = ["rain", "船 在 黎明 离开 港口 .", "Лодка вышла из гавани на рассвете .", LONG, LONG[18:]]


def rows_of(*fields: dict[str, Any], length: int = 24) -> Rows:
    return Rows((LabelledRow(row, f"p.csv:{at}") for at, row in enumerate(fields, 2)), tokenizer(), length)


def pair(first: Any, second: Any, label: Any = "да") -> dict[str, Any]:
    return {"text_a": first, "text_b": second, "label": label}


@pytest.mark.parametrize("length", [8, 9, 23, 24, 60])
def test_pairs_are_framed_and_cut_as_transformers_does(length: int, tmp_path: Any) -> None:
    tokenizer().save(tmp_path, ["input_ids", "token_type_ids", "attention_mask"])
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    pairs = [(first, second) for first in TEXTS for second in TEXTS]
    ours = examples(Pair(classes=CLASSES), rows_of(*(pair(*both) for both in pairs), length=length))
    for one, (first, second) in zip(ours, pairs, strict=True):
        # The tokenizer of these tests has no template with special tokens, so there is as much less room.
        cut = theirs(first, second, truncation="longest_first", max_length=length - 3, add_special_tokens=False)
        own = tokenizer().vocabulary
        assert one.ids[~np.isin(one.ids, (own.cls, own.sep))].tolist() == cut["input_ids"]
        assert len(one) == len(cut["input_ids"]) + 3
        assert (one.ids == own.sep).sum() == 2
        assert set(one.segments.tolist()) == {0, 1}


@pytest.mark.parametrize("empty", ["", "  ", None])
@pytest.mark.parametrize("side", ["text_a", "text_b"])
def test_an_empty_side_is_refused(side: str, empty: Any) -> None:
    some = rows_of(pair("rain", "船"), pair("rain", "船") | {side: empty})
    with pytest.raises(InputError, match=rf"p.csv:3: column '{side}' is (missing or )?empty"):
        examples(Pair(classes=CLASSES), some)


def test_columns_of_another_name() -> None:
    task = Pair(first="premise", second="hypothesis", label_field="gold")
    fields = [{"premise": "rain", "hypothesis": "船", "gold": label} for label in "abab"]
    settled = task.settled(rows_of(*fields))
    assert settled.classes == ("a", "b")
    assert [one.labels["pair"] for one in examples(settled, rows_of(*fields))] == [0, 1, 0, 1]
    assert settled.answer_field == "gold"
    assert settled.config_changes()["id2label"] == {0: "a", 1: "b"}


def test_a_checkpoint_alone_does_not_say_that_it_read_pairs() -> None:
    task = Pair(classes=CLASSES)
    config = model(task, 200).encoder.config
    config.architectures = ["BertForSequenceClassification"]
    assert not Pair.made(config)
