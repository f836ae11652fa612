"""Labelled files as a sequence of rows that a task can cut examples from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

from ..flow import Row
from ..text.tokenizer import Tokenizer


class Rows(Sequence[Row]):
    """Rows with the tokenizer that turns their text into ids, at most `length` tokens a sequence."""

    def __init__(self, fields: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, length: int) -> None:
        self._fields = list(fields)
        self._tokenizer = tokenizer
        self._length = length

    def __len__(self) -> int:
        return len(self._fields)

    def spread(self, count: int) -> Rows:
        """At most so many of the rows, evenly from all over."""
        whole = len(self._fields)
        count = min(count, whole)
        return Rows((self._fields[at * whole // count] for at in range(count)), self._tokenizer, self._length)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self._fields[index], self._tokenizer, self._length)
        return Row(
            fields=self._fields[index],
            vocabulary=self._tokenizer.vocabulary,
            length=self._length,
            encode=self._tokenizer.encode,
            locate=self._tokenizer.locate,
        )
