"""Answers in long contexts: windows, offsets, no answer, and the best span."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, examples, model, tokenizer

from bertwright.data.pack import pack
from bertwright.data.rows import Rows
from bertwright.errors import InputError, RecipeError
from bertwright.sums import add
from bertwright.tasks.span import Span
from bertwright.text.formats import LabelledRow

WORDS = "the boat left Гавань harbour 船 в rain , Лодка".split()
TASK = Span(unanswerable=False)


def rows_of(*fields: dict[str, Any], length: int = 24) -> Rows:
    made = (LabelledRow({"question": "the boat ?", **f}, f"q.jsonl:{at}") for at, f in enumerate(fields, 1))
    return Rows(made, tokenizer(), length)


def answer(context: str, start: int, end: int) -> list[dict[str, Any]]:
    return [{"text": context[start:end], "answer_start": start}]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), st.data(), st.integers(12, 30))
def test_the_answer_is_found_in_every_window_that_holds_it(words: list[str], data: st.DataObject, length: int) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(len(words) - 1, first + 3)))
    context = "  ".join(words)
    start = len("  ".join([*words[:first], ""]))
    end = len("  ".join(words[: last + 1]))
    (row,) = rows_of({"context": context, "answers": answer(context, start, end)}, length=length)
    cut = examples(Span(overlap=8), Rows([row.fields], tokenizer(), length))
    seen: list[int] = []
    for one in cut:
        assert len(one) <= length
        begin, places = one.labels["from"], one.labels["places"]
        assert len(places) == len(one) - begin - 1
        assert (
            one.ids[begin:-1].tolist() == np.concatenate([tokenizer().encode(context[a:b]) for a, b in places]).tolist()
        )
        holds = places[0, 0] <= start and places[-1, 1] >= end
        at = one.labels["span"]
        assert (at != (0, 0)) == holds
        if holds:
            assert (places[at[0] - begin, 0], places[at[1] - begin, 1]) == (start, end)
        seen += range(*places[[0, -1], [0, 1]])
    assert {*seen} >= {at for at, c in enumerate(context) if not c.isspace()}


def test_an_answer_inside_a_token_gets_the_whole_token() -> None:
    some = rows_of({"context": "Гавань harbour", "answers": answer("Гавань harbour", 2, 9)})
    (one,) = examples(TASK, some)
    first = one.labels["from"]
    assert one.labels["span"] == (first, first + 1)


@pytest.mark.parametrize(
    ("context", "said"), [("\ufeffrain 船", (0, 5)), ("船 rain\u200b", (2, 7)), ("\u200b船 rain", (0, 1))]
)
def test_an_answer_whose_edge_the_tokenizer_drops(context: str, said: tuple[int, int]) -> None:
    cut = examples(TASK, rows_of({"context": context, "answers": answer(context, *said)}, length=10))
    found = [one.labels["span"] for one in cut if one.labels["span"] != (0, 0)]
    word = context[slice(*said)].strip("\ufeff\u200b")
    if word:
        (place,) = {*found}
        assert [cut[0].ids[at] for at in place] == [tokenizer().encode(word)[0]] * 2
    else:
        assert not found


@torch.no_grad()
def test_the_loss_is_that_of_transformers() -> None:
    """Half of each end's cross-entropy over all tokens of a window."""
    context = " ".join(WORDS * 4)
    some = rows_of({"context": context, "answers": answer(context, 4, 8)}, {"context": "rain 船", "answers": []})
    group = examples(Span(overlap=6), some)
    assert len({len(one) for one in group}) > 1
    whole = model(TASK, 200).eval()
    losses, right = [], 0
    for one in group:
        said = TASK.logits(whole.encoder, whole.head, TASK.asks(pack([one], tokenizer().vocabulary)))
        ends = [
            (said[f"span.{side}"][None], torch.tensor([at]))
            for side, at in zip(("start", "end"), one.labels["span"], strict=True)
        ]
        losses.append(sum(float(torch.nn.functional.cross_entropy(*both)) for both in ends) / 2)
        right += all(int(scores.argmax()) == int(at) for scores, at in ends)
    report = TASK.report(add([whole(batch_of(TASK, group, tokenizer().vocabulary, 1)).measures]))
    assert report == {"span.loss": pytest.approx(np.mean(losses), rel=1e-5), "span.windows": right / len(group)}


def brute(task: Span, cut: list[Any], said: list[dict[str, Any]], context: str) -> tuple[str, float]:
    """Every span of every window, one by one."""
    found: dict[tuple[int, int], float] = {}
    for one, scores in zip(cut, said, strict=True):
        for i, (start, _) in enumerate(one.labels["places"]):
            for j, (_, end) in enumerate(one.labels["places"][i : i + task.longest], i):
                first = one.labels["from"]
                value = float(scores["start"][first + i]) + float(scores["end"][first + j])
                found[start, end] = max(value, found.get((start, end), -math.inf))
    (start, end), best = max(found.items(), key=lambda item: item[1])
    none = min(float(scores["start"][0] + scores["end"][0]) for scores in said)
    return ("" if task.unanswerable and none > best + task.margin else context[start:end]), best


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.booleans(), st.integers(1, 6), st.sampled_from([0.0, 3.0, -3.0]), st.integers(0, 99))
def test_the_best_span_of_all_windows_is_the_answer(
    words: int, unanswerable: bool, longest: int, margin: float, seed: int
) -> None:
    task = Span(unanswerable=unanswerable, longest=longest, margin=margin, overlap=8)
    context = " ".join(WORDS[(seed + 3 * at) % len(WORDS)] for at in range(words))
    (row,) = rows_of({"context": context})
    cut = examples(task, Rows([row.fields], tokenizer(), 24))
    draw = np.random.default_rng(seed)
    said = [{side: draw.normal(size=len(one)).astype(np.float32) for side in ("start", "end")} for one in cut]
    whole = task.together(row, cut, said)
    assert whole["predicted"] == brute(task, cut, said, context)[0]
    if whole["predicted"]:
        assert context[whole["start"] : whole["end"]] == whole["predicted"]
    else:
        assert (whole["start"], whole["end"]) == (None, None)
    assert 0 < whole["probability"] <= 1


def test_a_context_of_no_tokens_has_no_answer() -> None:
    (row,) = rows_of({"context": "\u200b"})
    cut = examples(TASK, Rows([row.fields], tokenizer(), 24))
    said = [{"start": np.zeros(len(one)), "end": np.zeros(len(one))} for one in cut]
    assert TASK.together(row, cut, said) == {"predicted": "", "start": None, "end": None, "probability": 1.0}


def test_questions_without_an_answer_are_seen() -> None:
    with_one, without = {"context": "rain", "answers": "rain"}, {"context": "rain", "answers": []}
    impossible = {"context": "rain", "answers": answer("rain", 0, 4), "is_impossible": True}
    assert Span().settled(rows_of(with_one)).unanswerable is False
    assert Span().settled(rows_of(with_one, without)).unanswerable is True
    for said in (True, 1, "true", "True", "1"):
        assert Span().settled(rows_of(with_one, {**impossible, "is_impossible": said})).unanswerable is True
    for said in (False, 0, "false", "", None):
        assert Span().settled(rows_of(with_one, {**impossible, "is_impossible": said})).unanswerable is False
    assert Span(unanswerable=False).settled(rows_of(with_one, without)).unanswerable is False
    with pytest.raises(InputError, match="no row has an answer in column 'answers'"):
        Span().settled(rows_of(without))


def test_answers_are_graded_over_rows() -> None:
    some = rows_of({"context": "the red boat", "answers": "red boat"}, {"context": "rain", "answers": []})
    graded = TASK.grade(some, [{"predicted": "the boat"}, {"predicted": ""}])
    assert graded == {"span.exact": 0.5, "span.f1": pytest.approx((2 / 3 + 1) / 2)}
    assert TASK.score({"span.loss": 1.0, **graded}) == graded["span.f1"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"context": "rain", "answers": [{"text": "船", "answer_start": 0}]},
            "q.jsonl:1: the answer '船' does not stand",
        ),
        ({"answers": "rain"}, "q.jsonl:1: column 'context' is missing or empty; the columns are question, answers"),
        ({"context": " ", "answers": []}, "q.jsonl:1: column 'context' is empty"),
        ({"context": "rain", "question": ""}, "q.jsonl:1: column 'question' is empty"),
    ],
)
def test_rows_that_ask_nothing(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        examples(TASK, rows_of(fields))
    with pytest.raises(InputError, match="without a label cannot be learned from or judged"):
        batch_of(TASK, examples(TASK, rows_of({"context": "rain"})), tokenizer().vocabulary, 1)


def test_settings_out_of_range() -> None:
    for name, least in {"overlap": 0, "question_tokens": 1, "longest": 1}.items():
        with pytest.raises(RecipeError, match=f"span.{name} is at least {least}, not {least - 1}"):
            Span(**{name: least - 1})
