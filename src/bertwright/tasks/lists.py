"""Columns that hold a list: as such, or in a text, as it is in a file whose values are all text."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import InputError
from ..flow import Row
from .fields import where

_SPELLED = re.compile(r"""\[(?!\s)[^][]*[\s,'"][^][]*\]""")
"""What was meant as a list, rather than as words of which the first and the last stand in brackets."""
_BESIDE = re.compile(r"""\[\s*('[^']*'|"[^"]*")(\s+('[^']*'|"[^"]*"))+\s*\]""")
"""A list of numpy's, whose texts Python would take for a single one."""
_READERS: tuple[Callable[[str], Any], ...] = (json.loads, literal_eval)


def list_of(row: Row, column: str, value: Any, separator: str = "") -> list[Any]:
    """A list, or what a text says: a list as JSON or Python writes it, else parts with the separator between.

    Without a separator parts have white space between. Raises InputError for anything else.
    """
    if isinstance(value, list | tuple):
        return [*value]
    if isinstance(value, str):
        spelled = _spelled(row, column, value.strip())
        return value.split(separator or None) if spelled is None else spelled
    between = repr(separator) if separator else "spaces"
    raise InputError(
        f"{where(row)}: column {column!r} holds {value!r}; accepted are a list, and a text with {between} between"
    )


def _spelled(row: Row, column: str, text: str) -> list[Any] | None:
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in () if _BESIDE.fullmatch(text) else _READERS:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            if isinstance(value := read(text), list):
                return value
    if _SPELLED.fullmatch(text):
        raise InputError(
            f"{where(row)}: column {column!r} holds {text[:200]!r}, which is no list in JSON's or Python's spelling"
        )
    return None
