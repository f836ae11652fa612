"""Answers as SQuAD writes and judges them (Rajpurkar et al., 2016, 2018; the rules of its official script)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Answer(NamedTuple):
    """A piece of a context."""

    text: str
    start: int
    """Its first character in the context."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def answers_of(value: Any, context: str, where: str) -> list[Answer]:
    """The answers that a column holds; none where there is no answer in the context.

    Accepted are a list of `{"text": ..., "answer_start": ...}`, the same as `{"text": [...], "answer_start": [...]}`,
    and the plain text of one answer. Without `answer_start` it is the first place where the text stands. Raises
    InputError for anything else, and for an answer that does not stand where it should.
    """
    return [_placed(text, start, context, where) for text, start in _written(value, where) if text.strip()]


def _written(value: Any, where: str) -> list[tuple[str, int | None]]:
    if isinstance(value, str):
        return [(value, None)]
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, list) and all(isinstance(one, Mapping) and isinstance(one.get("text"), str) for one in value):
        return [(one["text"], one.get("answer_start")) for one in value]
    raise InputError(
        f"{where}: {value!r} is no list of answers; each is {{'text': ..., 'answer_start': ...}}, or a text"
    )


def _placed(text: str, start: int | None, context: str, where: str) -> Answer:
    if not isinstance(start, int | None):
        raise InputError(f"{where}: the answer {text!r} stands at {start!r}, which is no whole number")
    found = context.find(text)
    if found < 0:
        raise InputError(f"{where}: the answer {text!r} does not stand in its context")
    if start is not None and context[start : start + len(text)] != text:
        raise InputError(
            f"{where}: the answer {text!r} does not stand at character {start} of its context, but at {found}"
        )
    return Answer(text, found if start is None else start)


def judged(said: str, true: Iterable[str]) -> tuple[float, float]:
    """Exact match and F1 of what was said, by the answer it does best against; with none, nothing is to be said."""
    expected = [text for text in true if normalised(text)] or [""]
    exact = max(float(normalised(said) == normalised(text)) for text in expected)
    return exact, max(_f1(normalised(said).split(), normalised(text).split()) for text in expected)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation, English articles and white space to spare."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    return 2 * (Counter(said) & Counter(true)).total() / (len(said) + len(true))
