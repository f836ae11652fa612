"""Classification of pairs: how two texts stand to each other, as in paraphrase and inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PretrainedConfig

from .classes import ClassTask


@dataclass(frozen=True, kw_only=True)
class Pair(ClassTask):
    """One class a pair of texts, which stand in the columns `first` and `second`: `[CLS] first [SEP] second [SEP]`."""

    first: str = "text_a"
    second: str = "text_b"
    label_field: str = "label"
    classes: tuple[str, ...] = ()
    weights: Mapping[str, float] | str = ""
    pooling: str = ""

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        """A config does not say whether its model was shown one text or two; it is taken for one."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        return self.first, self.second
