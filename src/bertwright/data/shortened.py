"""Which rows are longer than a sequence, seen while they are cut: to look at them alone would take as long again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..flow import Example, Row
from .plan import Cut


class Shortening:
    """Cuts rows as `cut` does, and remembers those of which tokens were left out."""

    def __init__(self, cut: Cut[Row]) -> None:
        self._cut = cut
        self._shortened: set[int] = set()

    def __len__(self) -> int:
        """How many of the rows that were cut so far."""
        return len(self._shortened)

    def __call__(self, row: Row, rng: np.random.Generator) -> Iterator[Example]:
        there = 0

        def encode(text: str) -> np.ndarray:
            nonlocal there
            ids = row.encode(text)
            there += len(ids)
            return ids

        kept = 0
        for example in self._cut(replace(row, encode=encode), rng):
            framing = (example.ids == row.vocabulary.cls) | (example.ids == row.vocabulary.sep)
            kept += len(example) - int(np.count_nonzero(framing))
            yield example
        if kept < there:
            self._shortened.add(id(row.fields))
