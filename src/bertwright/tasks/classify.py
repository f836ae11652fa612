"""Classification: a row's text belongs to one class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log, nan
from typing import Any, Self

import numpy as np
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import InputError
from ..flow import Batch, Example, Row
from ..nn.dropout import Dropout
from ..sums import ratio
from .base import LabelledTask, Verdict, Verdicts
from .pooled import PooledTask, pooled_head

SMALLEST = 1e-38
"""A probability that fp32 has rounded to 0 counts as this in a loss."""


@dataclass(frozen=True, kw_only=True)
class Classify(PooledTask, LabelledTask):
    """One class a text. `text_field` and `label_field` name the columns; `classes` come from the data if not given."""

    hf_class = "SequenceClassification"

    text_field: str = "text"
    label_field: str = "label"
    classes: tuple[str, ...] = ()

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        return cls(classes=_classes(config))

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where its classes are the same, in the same order."""
        return not name.startswith("classifier.") or _classes(config) == self.classes

    def config_changes(self) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(self.classes)),
            "label2id": {name: number for number, name in enumerate(self.classes)},
            "problem_type": "single_label_classification",
        }

    def settled(self, rows: Iterable[Row]) -> Classify:
        """Reads the classes off the rows, in alphabetical order, numbers by size."""
        if self.classes:
            return self
        found = {_label(row, self.label_field) for row in rows}
        if len(found) < 2:
            raise InputError(
                f"column {self.label_field!r} holds {len(found)} class; at least 2 are needed to tell apart"
            )
        return dataclasses.replace(self, classes=tuple(sorted(found, key=_numbers_first)))

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        text = _field(item, self.text_field)
        ids = item.encode(str(text))[: item.length - 2]
        label = item.fields.get(self.label_field)
        known = {} if label is None else {self.name: self._class(item, str(label))}
        yield dataclasses.replace(item.vocabulary.single(ids), labels=known)

    def _class(self, row: Row, label: str) -> int:
        if label not in self.classes:
            known = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
            raise InputError(f"{_where(row)}: label {label!r} is unknown to the model, whose classes are {known}")
        return self.classes.index(label)

    @property
    def number_of_classes(self) -> int:
        return len(self.classes)

    def head(self, encoder: Encoder) -> nn.Module:
        """The pooler, dropout and a layer of one output a class: transformers' ...ForSequenceClassification."""
        output = called(nn.Linear(encoder.config.hidden_size, len(self.classes)), "classifier")
        return pooled_head(encoder, output, Dropout(encoder.head_dropout))

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a row, accuracy, macro F1 over the classes that occur, Matthews correlation."""
        loss, confusion = self._sums(sums)
        report = {
            "loss": ratio(loss, confusion.sum()),
            "accuracy": ratio(confusion.trace(), confusion.sum()),
            "macro_f1": macro_f1(confusion),
            "matthews": matthews(confusion),
        }
        return {f"{self.name}.{key}": value for key, value in report.items()}

    def score(self, report: Mapping[str, float]) -> float:
        return report[f"{self.name}.accuracy"]

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        shares = self.logits(encoder, head, self.asks(batch))[self.name].float().softmax(-1)
        return [
            {
                "predicted": self.classes[int(share.argmax())],
                "probability": float(share.max()),
                "probabilities": dict(zip(self.classes, share.tolist(), strict=True)),
            }
            for share in shares
        ]

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        trues = [str(row.fields[self.label_field]) for row in rows]
        each = [
            Verdict(true, said["predicted"], said["probability"], -log(max(said["probabilities"][true], SMALLEST)))
            for true, said in zip(trues, answers, strict=True)
        ]
        return Verdicts(self.classes, each)


def macro_f1(confusion: Tensor) -> float:
    """The mean F1 over the classes that are true or said at least once; `confusion[true, said]` counts."""
    both = confusion.sum(0) + confusion.sum(1)
    occur = both > 0
    return float((2 * confusion.diagonal()[occur] / both[occur]).mean()) if bool(occur.any()) else 0.0


def matthews(confusion: Tensor) -> float:
    """Matthews correlation for any number of classes (Gorodkin, Comp. Biol. Chem. 2004); 0 where it is undefined."""
    said, true, whole = confusion.sum(0), confusion.sum(1), confusion.sum()
    covariance = confusion.trace() * whole - said @ true
    spread = ((whole**2 - said @ said) * (whole**2 - true @ true)).sqrt()
    return ratio(covariance, spread)


def _classes(config: PretrainedConfig) -> tuple[str, ...]:
    names = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    return tuple(names[number] for number in sorted(names))


def _field(row: Row, name: str) -> Any:
    if row.fields.get(name) is None:
        raise InputError(
            f"{_where(row)}: column {name!r} is missing or empty; the columns are {', '.join(map(str, row.fields))}"
        )
    return row.fields[name]


def _label(row: Row, name: str) -> str:
    label = str(_field(row, name))
    if not label.strip():
        raise InputError(f"{_where(row)}: column {name!r} is empty; every row that is learned from needs a label")
    return label


def _where(row: Row) -> str:
    return getattr(row.fields, "where", "a row")


def _numbers_first(label: str) -> tuple[int, float, str]:
    try:
        number = float(label)
    except ValueError:
        number = nan
    # "nan" is a number to Python, but has no place among the others.
    return (1, 0.0, label) if isnan(number) else (0, number, label)
