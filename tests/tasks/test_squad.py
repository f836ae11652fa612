"""Answers as SQuAD writes them and as its official script judges them."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import InputError
from bertwright.tasks.squad import answers_of, judged, normalised

CONTEXT = "Лодка вышла из гавани. The boat came back in 1,998 — a boat, the boat!"
TEXTS = st.lists(st.sampled_from("a an the The Boat boat, harbour гавань Гавань! 1,998 — ( ".split()), max_size=6).map(
    " ".join
)


def official(said: str, true: str) -> tuple[float, float]:
    """The rules of evaluate-v2.0.py, step by step."""

    def cleaned(text: str) -> str:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    one, other = cleaned(true).split(), cleaned(said).split()
    same = sum((Counter(one) & Counter(other)).values())
    if not one or not other:
        f1 = float(one == other)
    elif same == 0:
        f1 = 0.0
    else:
        precision, recall = same / len(other), same / len(one)
        f1 = 2 * precision * recall / (precision + recall)
    return float(cleaned(said) == cleaned(true)), f1


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_answers_are_judged_as_the_official_script_does(said: str, true: list[str]) -> None:
    known = [text for text in true if normalised(text)] or [""]
    scores = [official(said, text) for text in known]
    assert judged(said, true) == pytest.approx((max(s[0] for s in scores), max(s[1] for s in scores)))


@pytest.mark.parametrize(
    ("said", "true", "scores"),
    [
        ("The boat!", ["a boat"], (1, 1)),
        ("гавани", ["Гавани.", "лодка"], (1, 1)),
        ("red boat", ["boat"], (0, 2 / 3)),
        ("", [], (1, 1)),
        ("boat", [], (0, 0)),
        ("", ["boat"], (0, 0)),
    ],
)
def test_some_answers(said: str, true: list[str], scores: tuple[float, float]) -> None:
    assert judged(said, true) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"text": "гавани", "answer_start": 15}], [("гавани", 15)]),
        ({"text": ["Лодка", "boat"], "answer_start": [0, 55]}, [("Лодка", 0), ("boat", 55)]),
        ([{"text": "boat"}], [("boat", 27)]),
        ("вышла", [("вышла", 6)]),
        ("", []),
        ([], []),
        ({"text": [], "answer_start": []}, []),
    ],
)
def test_answers_are_written_in_several_ways(value: Any, found: list[tuple[str, int]]) -> None:
    answers = answers_of(value, CONTEXT, "q.json")
    assert [(one.text, one.start) for one in answers] == found
    assert all(CONTEXT[one.start : one.end] == one.text for one in answers)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"text": "корабль", "answer_start": 0}], "q.json: the answer 'корабль' does not stand in its context"),
        (
            [{"text": "вышла", "answer_start": 5}],
            "the answer 'вышла' does not stand at character 5 of its context, but at 6",
        ),
        (7, "q.json: 7 is no list of answers; each is {'text': ..., 'answer_start': ...}, or a text"),
        ([["a", 0]], "is no list of answers"),
        ({"text": "a"}, "is no list of answers"),
        (
            [{"text": "Лодка", "answer_start": "0"}],
            "q.json: the answer 'Лодка' stands at '0', which is no whole number",
        ),
    ],
)
def test_answers_that_are_none(value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        answers_of(value, CONTEXT, "q.json")
    assert said in str(caught.value)
