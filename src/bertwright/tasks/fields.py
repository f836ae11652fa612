"""What tasks read off a labelled row, each mistake in it one line that names the file and the row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np
from transformers import PretrainedConfig

from ..errors import InputError, RecipeError
from ..flow import Example, Row

_NAME = 40
"""Of a column's name so many characters are shown: a file without a line of names has a whole text there."""
_OTHER = " (docs/tasks.md says how to name others, as by --text-field)"
_LARGEST = float(np.finfo(np.float32).max)


def where(row: Row) -> str:
    """The file and the line that a row stands in."""
    return getattr(row.fields, "where", "a row")


def missing(value: Any) -> bool:
    """Whether a value says that there is none, as NaN does in columns of numbers."""
    return value is None or (isinstance(value, float) and isnan(value))


def value_of(row: Row, name: str) -> Any:
    """What stands in a column. Raises InputError when nothing does."""
    if missing(row.fields.get(name)):
        known = (str(column)[:_NAME] for column, value in row.fields.items() if not missing(value))
        other = "" if name in row.fields else _OTHER
        raise InputError(
            f"{where(row)}: column {name!r} is missing or empty; the columns are {', '.join(known) or 'none'}{other}"
        )
    return row.fields[name]


def text_in(row: Row, name: str) -> str:
    """The text in a column, or a number as one. Raises InputError for several values, and for none."""
    value = value_of(row, name)
    if isinstance(value, list | tuple | Mapping):
        raise InputError(f"{where(row)}: column {name!r} holds a {type(value).__name__}, not text")
    return str(value)


def side_of(row: Row, name: str) -> str:
    """One text of a pair. Raises InputError when it is empty."""
    text = text_in(row, name)
    if not text.strip():
        raise InputError(f"{where(row)}: column {name!r} is empty; a pair has text on both sides")
    return text


def spelled(label: Any) -> str:
    """A label as a file whose values are all text has it: true and false as in JSON, a whole number without a point."""
    if isinstance(label, bool):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def label_of(row: Row, name: str) -> str:
    """A label to learn from. Raises InputError when it is empty."""
    label = spelled(value_of(row, name))
    if not label.strip():
        raise InputError(f"{where(row)}: column {name!r} is empty; every row that is learned from needs a label")
    return label


def number_of(row: Row, name: str) -> float:
    """A score. Raises InputError for what is no finite number."""
    value = value_of(row, name)
    try:
        number = nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError):
        number = nan
    if not abs(number) < _LARGEST:
        raise InputError(f"{where(row)}: column {name!r} holds {value!r}; a score is a number, as in 3.5")
    return number


def refuse_unlabelled(examples: Iterable[Example], name: str) -> None:
    """Raises InputError when an example came from a row without a label, which the task `name` could not learn from."""
    if any(name not in example.labels for example in examples):
        raise InputError(f"a row without a label cannot be learned from or judged by ({name})")


def pair_of(row: Row, first: np.ndarray, second: np.ndarray) -> Example:
    """`[CLS] first [SEP] second [SEP]` within the row's length: the longer one gives at its end.

    Where both are longer than half of the room each gets half of it, as in transformers' `longest_first`.
    """
    room = row.length - 3
    short, long = sorted((len(first), len(second)))
    if short + long > room:
        short = min(short, room // 2)
        long = room - short
    one, other = (short, long) if len(first) <= len(second) else (long, short)
    return row.vocabulary.pair(first[:one], second[:other])


def text_of(row: Row, first: str, second: str = "") -> Example:
    """The text of the column `first`, cut to the row's length, or beside that of `second` where there is one."""
    if second:
        return pair_of(row, row.encode(side_of(row, first)), row.encode(side_of(row, second)))
    return row.vocabulary.single(row.encode(text_in(row, first))[: row.length - 2])


def labelled(example: Example, name: str, label: Any) -> Example:
    """The example with its label for the task `name`, or as it is where that is None."""
    return example if label is None else replace(example, labels={**example.labels, name: label})


def numbers_first(label: str) -> tuple[int, float, str]:
    """The order of labels: numbers by size, then the others by letter."""
    try:
        number = float(label)
    except ValueError:
        number = nan
    # "nan" is a number to Python, but has no place among the others.
    return (1, 0.0, label) if isnan(number) else (0, number, label)


def told_apart(counts: Mapping[str, int], first: Mapping[str, Row], column: str, task: str) -> tuple[str, ...]:
    """The classes that rows name, in alphabetical order, numbers by size.

    `counts` is how many rows have each, `first` one of them. Raises InputError for a single class, and for a class of a
    single row: nothing can be learned of it.
    """
    if len(counts) < 2:
        raise InputError(f"column {column!r} holds {len(counts)} class; at least 2 are needed to tell apart")
    for label, row in first.items():
        if counts[label] == 1:
            raise InputError(
                f"{where(row)}: class {label!r} has this one example; give it more, take the row out, or name all "
                f"classes in tasks.{task}.classes"
            )
    return tuple(sorted(counts, key=numbers_first))


def known(classes: tuple[str, ...]) -> str:
    """The classes as a message lists them."""
    return ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")


def refuse_twice(classes: Sequence[str], task: str) -> None:
    """Raises RecipeError when the settings name a class twice."""
    if twice := [label for label, times in Counter(classes).items() if times > 1]:
        raise RecipeError(f"{task}.classes names {twice[0]!r} twice; each class is named once")


def classes_of(config: PretrainedConfig) -> tuple[str, ...]:
    """The classes that a transformers config names, in their order."""
    names = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    return tuple(names[number] for number in sorted(names))


def named_classes(classes: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a transformers config that name classes."""
    return {"id2label": dict(enumerate(classes)), "label2id": {name: number for number, name in enumerate(classes)}}
