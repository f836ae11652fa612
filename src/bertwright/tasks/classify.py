"""Classification: a row's text belongs to one class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .classes import ClassTask


@dataclass(frozen=True, kw_only=True)
class Classify(ClassTask):
    """One class a text. `text_field` and `label_field` name the columns; `classes` come from the data if not given."""

    text_field: str = "text"
    label_field: str = "label"
    classes: tuple[str, ...] = ()
    weights: Mapping[str, float] | str = ""
    pooling: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.text_field,)
