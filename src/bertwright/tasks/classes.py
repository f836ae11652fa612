"""What tasks share whose rows belong to one of several named classes: the classes, their weights, the measures."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..errors import InputError, RecipeError
from ..flow import Batch, Example, Row
from ..sums import ratio
from .base import Confusion, Verdict, Verdicts, nats
from .fields import (
    classes_of,
    known,
    label_of,
    labelled,
    missing,
    named_classes,
    refuse_twice,
    spelled,
    text_in,
    text_of,
    told_apart,
    where,
)
from .pooled import PooledTask
from .sequences import LabelledSequences, pooling_of

BALANCED = "balanced"


class ClassTask(PooledTask, LabelledSequences):
    """One class a row; a concrete task says how a row becomes a sequence, and has the fields named here."""

    hf_class = "SequenceClassification"
    pipeline = "text-classification"
    problem_type: ClassVar[str] = "single_label_classification"

    label_field: str
    classes: tuple[str, ...]
    """Those of the training rows if not given, in alphabetical order, numbers by size."""
    weights: Mapping[str, float] | str
    """How much a row of each class weighs in what is minimised, 1 if not named; `balanced`: all classes weigh alike."""

    def __post_init__(self) -> None:
        refuse_twice(self.classes, self.name)
        if isinstance(self.weights, str):
            if self.weights not in ("", BALANCED):
                raise RecipeError(f"{self.name}.weights is {BALANCED!r} or a table of numbers, not {self.weights!r}")
            return
        for label, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                raise RecipeError(f"{self.name}.weights.{label} is a number above 0, not {weight!r}")
            if self.classes and label not in self.classes:
                raise RecipeError(f"{self.name}.weights names {label!r}, and the classes are {known(self.classes)}")

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Those of a row's text: one, or two for a pair."""

    def sequence(self, row: Row) -> Example:
        """The text of a row, framed and cut."""
        return text_of(row, *self.columns)

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        return super().made(config) and cls._of_kind(config)

    @classmethod
    def _of_kind(cls, config: PretrainedConfig) -> bool:
        return config.problem_type in (None, cls.problem_type) and (config.num_labels or 0) > 1

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        return cls(classes=classes_of(config), pooling=pooling_of(config))  # type: ignore[call-arg]  # of every concrete one

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where its classes are the same, in the same order."""
        return not name.startswith("classifier.") or (self._of_kind(config) and classes_of(config) == self.classes)

    def config_changes(self) -> dict[str, Any]:
        return {**named_classes(self.classes), "problem_type": self.problem_type}

    def settled(self, rows: Iterable[Row]) -> Self:
        """Reads off the rows which classes there are and how many rows each has, as far as that is asked for.

        Raises InputError for the first row without text, for a single class, and for a class of a single row: nothing
        can be learned of it.
        """
        if self.classes and self.weights != BALANCED:
            return self
        first: dict[str, Row] = {}
        counts: Counter[str] = Counter()
        for row in rows:
            for column in self.columns:
                text_in(row, column)
            label = label_of(row, self.label_field)
            first.setdefault(label, row)
            counts[label] += 1
        classes = self.classes or told_apart(counts, first, self.label_field, self.name)
        weights = balanced(classes, counts) if self.weights == BALANCED else self.weights
        return dataclasses.replace(self, classes=classes, weights=weights)  # type: ignore[type-var]

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        label = item.fields.get(self.label_field)
        yield labelled(self.sequence(item), self.name, None if missing(label) else self._class(item, spelled(label)))

    def _class(self, row: Row, label: str) -> int:
        if label not in self.classes:
            raise InputError(
                f"{where(row)}: label {label!r} is unknown to the model, whose classes are {known(self.classes)}"
            )
        return self.classes.index(label)

    @property
    def number_of_classes(self) -> int:
        return len(self.classes)

    def class_weights(self, device: torch.device) -> Tensor | None:
        if isinstance(self.weights, str) or not self.weights:
            return None
        return _kept_on(device, tuple(float(self.weights.get(label, 1.0)) for label in self.classes))

    def head(self, encoder: Encoder) -> nn.Module:
        """The pooler, dropout and a layer of one output a class: transformers' ...ForSequenceClassification."""
        return self.classifier(encoder, len(self.classes))

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a row, without weights; accuracy, and that of always saying the commonest class; macro F1 over
        the classes that occur; Matthews correlation."""
        loss, confusion = self._sums(sums)
        report = {
            "loss": ratio(loss, confusion.sum()),
            "accuracy": ratio(confusion.trace(), confusion.sum()),
            "commonest": ratio(confusion.sum(1).max(), confusion.sum()),
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
        trues = [label_of(row, self.label_field) for row in rows]
        each = [
            Verdict(true, said["predicted"], said["probability"], nats(said["probabilities"][true]))
            for true, said in zip(trues, answers, strict=True)
        ]
        return Verdicts(each, Confusion(self.classes, Counter((one.true, one.said) for one in each), "rows"))


@cache
def _kept_on(device: torch.device, weights: tuple[float, ...]) -> Tensor:
    """Brought there once: the host waits for an accelerator to take it."""
    return torch.tensor(weights, device=device)


def balanced(classes: tuple[str, ...], counts: Mapping[str, int]) -> dict[str, float]:
    """A weight for each class, so that all weigh alike and a row weighs 1 on average (King & Zeng, 2001)."""
    whole = sum(counts.get(label, 0) for label in classes)
    return {label: whole / (len(classes) * counts[label]) if counts.get(label) else 1.0 for label in classes}


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
