"""Classification: a row's text belongs to one class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..flow import Example, Row
from .classes import ClassTask
from .fields import text_of


@dataclass(frozen=True, kw_only=True)
class Classify(ClassTask):
    """One class a text. `text_field` and `label_field` name the columns; `classes` come from the data if not given."""

    text_field: str = "text"
    label_field: str = "label"
    classes: tuple[str, ...] = ()
    weights: Mapping[str, float] | str = ""
    pooling: str = ""

    def sequence(self, row: Row) -> Example:
        return text_of(row, self.text_field, "")
