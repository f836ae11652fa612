"""Rows of .csv and .tsv: the first line names the columns, and values are strings."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from ..errors import InputError
from .labelled import LabelledRow

if TYPE_CHECKING:
    from _csv import Reader

_QUOTES = "a field that begins with a quote ends with one, and in it quotes are doubled"

Fields = tuple[int, list[str]]
"""The number of a row's line, and what stands in its columns."""


def from_csv(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    """Rows of a table with commas, or with semicolons where its first line has these and no comma.

    Raises InputError for a row of another width, and for quotes that do not close.
    """
    first = next(read, "")
    delimiter = ";" if ";" in first and "," not in first else ","  # As spreadsheets write it where 1,5 is a number.
    return _named(_parted(chain([first], read), name, delimiter), name)


def from_tsv(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    """Rows of a table with tabs, in which quotes are plain characters where they do not close.

    A field may be quoted as in .csv, and then hold tabs and line ends. But a quote that a line leaves open is a plain
    one where that line, and the next one too, is a row by itself. Raises InputError where the next one would close it:
    that can be read both ways.
    """
    return _named(_with_tabs(read, name), name)


def _named(rows: Iterator[Fields], name: str) -> Iterator[LabelledRow]:
    number, columns = next(rows, (1, []))
    if twice := [column for column, times in Counter(columns).items() if times > 1]:
        raise InputError(f"{name}:{number}: two columns are called {twice[0]!r}")
    for number, row in rows:
        if len(row) != len(columns):
            found = f"{len(row)} fields where the first line names {len(columns)}"
            raise InputError(f"{name}:{number}: {found} ({', '.join(columns)[:200]})")
        yield LabelledRow(dict(zip(columns, row, strict=True)), f"{name}:{number}")


def _parted(read: Iterator[str], name: str, delimiter: str) -> Iterator[Fields]:
    reader = _reader(read, delimiter)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise _no_row(name, reader.line_num, error) from None


def _with_tabs(read: Iterator[str], name: str) -> Iterator[Fields]:
    stream = _with_next(read)
    width = 0
    for number, line, following in stream:
        fields = line.split("\t")
        if '"' in line:
            quoted = _quoted(line)
            if quoted and len(quoted) == (width or len(quoted)):
                fields = quoted
            elif len(fields) != width or (following and following.count("\t") + 1 != width):
                fields = _over_lines(number, chain([line], (later for _, later, _ in stream)), name)
            elif len(_quoted(line, following)) == width:
                raise InputError(f"{name}:{number}: its quote is closed in the next line, and both are whole rows")
        if line:
            width = width or len(fields)
            yield number, fields


def _with_next(read: Iterator[str]) -> Iterator[tuple[int, str, str]]:
    """Each line with its number, and the next line that is not blank."""
    held: list[tuple[int, str]] = []
    for number, line in enumerate(read, 1):
        if line:
            yield from ((*before, line) for before in held)
            held = []
        held.append((number, line))
    yield from ((*before, "") for before in held)


def _quoted(*lines: str) -> list[str]:
    """The fields of the row that lines make together; none where a quote in them is open or astray."""
    try:
        (row,) = _reader(lines, "\t")
    except (csv.Error, ValueError):
        return []
    return row


def _over_lines(number: int, lines: Iterator[str], name: str) -> list[str]:
    try:
        return next(_reader(lines, "\t"))
    except csv.Error as error:
        raise _no_row(name, number, error) from None


def _reader(lines: Iterable[str], delimiter: str) -> Reader:
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    return csv.reader((line + "\n" for line in lines), strict=True, delimiter=delimiter)


def _no_row(name: str, number: int, error: csv.Error) -> InputError:
    return InputError(f"{name}:{number}: not a row of a table ({error}; {_QUOTES})")
