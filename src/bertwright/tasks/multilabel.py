"""Classification with several labels: each of them holds of a text or does not."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..errors import InputError, RecipeError
from ..flow import Batch, Example, Loss, Row
from ..nn.rounding import in_even_rows
from ..seeds import Draws
from ..sums import ratio
from .base import Verdict, Verdicts, nats
from .fields import (
    classes_of,
    known,
    labelled,
    missing,
    named_classes,
    refuse_twice,
    refuse_unlabelled,
    spelled,
    text_of,
    told_apart,
    value_of,
    where,
)
from .lists import list_of
from .sequences import LabelledSequences, pooling_of


@dataclass(frozen=True, kw_only=True)
class MultiLabel(LabelledSequences):
    """Any number of classes a text, none too: a list, as such or spelled out, or a text with a `separator` between.

    A class is said of a text where its probability is at least `threshold`.
    """

    hf_class = "SequenceClassification"
    pipeline = "text-classification"

    text_field: str = "text"
    label_field: str = "labels"
    separator: str = ","
    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    pooling: str = ""

    def __post_init__(self) -> None:
        refuse_twice(self.classes, self.name)
        if not 0 < self.threshold < 1:
            raise RecipeError(f"{self.name}.threshold is a probability between 0 and 1, not {self.threshold}")
        if not self.separator:
            raise RecipeError(f"{self.name}.separator is what stands between two labels; it is empty")

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        return super().made(config) and config.problem_type == "multi_label_classification"

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        return cls(classes=classes_of(config), pooling=pooling_of(config))

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where its classes are the same, in the same order."""
        return not name.startswith("classifier.") or (self.made(config) and classes_of(config) == self.classes)

    def config_changes(self) -> dict[str, Any]:
        return {**named_classes(self.classes), "problem_type": "multi_label_classification"}

    def settled(self, rows: Iterable[Row]) -> MultiLabel:
        """Reads the classes off the rows.

        Raises InputError for a single class, and for a class of a single row: nothing can be learned of it.
        """
        if self.classes:
            return self
        first: dict[str, Row] = {}
        counts: Counter[str] = Counter()
        for row in rows:
            for label in set(self._labels(row, value_of(row, self.label_field))):
                first.setdefault(label, row)
                counts[label] += 1
        return dataclasses.replace(self, classes=told_apart(counts, first, self.label_field, self.name))

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        value = item.fields.get(self.label_field)
        yield labelled(text_of(item, self.text_field), self.name, None if missing(value) else self._places(item, value))

    def _labels(self, row: Row, value: Any) -> list[str]:
        found = list_of(row, self.label_field, value, self.separator)
        labels = (spelled(label).strip() for label in found if not missing(label))
        return [label for label in labels if label]

    def _places(self, row: Row, value: Any) -> list[int]:
        labels = self._labels(row, value)
        for label in labels:
            if label not in self.classes:
                raise InputError(
                    f"{where(row)}: label {label!r} is unknown to the model, whose classes are {known(self.classes)}"
                )
        return sorted({self.classes.index(label) for label in labels})

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for an example whose labels are not known."""
        refuse_unlabelled(examples, self.name)
        values = torch.zeros(len(examples), len(self.classes))
        for row, example in zip(values, examples, strict=True):
            row[example.labels[self.name]] = 1.0
        return self.at_firsts(batch, values)

    def head(self, encoder: Encoder) -> nn.Module:
        """The pooler, dropout and a layer of one output a class: transformers' ...ForSequenceClassification."""
        return self.classifier(encoder, len(self.classes))

    def asks(self, batch: Batch) -> Batch:
        nothing = batch.firsts.new_zeros(len(batch), len(self.classes)).float()
        return self.at_firsts(batch, nothing)

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[S, C]"""
        return {self.name: in_even_rows(head, self.vectors(encoder, batch, batch.labels[self.name].positions))}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Binary cross-entropy, its mean over classes; the measures are that, rows, and [true, said, both] by class."""
        logits = self.logits(encoder, head, batch)[self.name].float()
        true = batch.labels[self.name].values
        total = F.binary_cross_entropy_with_logits(logits, true, reduction="none").mean(1).sum()
        is_true, is_said = true > 0, logits.detach().sigmoid() >= self.threshold
        counts = torch.stack((is_true.sum(0), is_said.sum(0), (is_true & is_said).sum(0)))
        exact = (is_true == is_said).all(1).sum()
        rows = torch.stack((exact, torch.full_like(exact, len(true))))
        measures = {"loss": total.detach(), "rows": rows, "counts": counts}
        return Loss({self.name: total}, {f"{self.name}.{key}": value for key, value in measures.items()})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a label; micro F1; macro F1 over the classes that are true or said; rows without a mistake."""
        exact, rows = sums[f"{self.name}.rows"]
        true, said, both = sums[f"{self.name}.counts"].double()
        occur = true + said > 0
        report = {
            "loss": ratio(sums[f"{self.name}.loss"], rows),
            "micro_f1": ratio(2 * both.sum(), (true + said).sum()),
            "macro_f1": float((2 * both[occur] / (true + said)[occur]).mean()) if bool(occur.any()) else 0.0,
            "exact": ratio(exact, rows),
        }
        return {f"{self.name}.{key}": value for key, value in report.items()}

    def score(self, report: Mapping[str, float]) -> float:
        return report[f"{self.name}.micro_f1"]

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        shares = self.logits(encoder, head, self.asks(batch))[self.name].float().sigmoid()
        said = [dict(zip(self.classes, share, strict=True)) for share in shares.tolist()]
        return [
            {"predicted": [name for name, p in share.items() if p >= self.threshold], "probabilities": share}
            for share in said
        ]

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The loss of a row is the mean over all labels of whether each holds."""
        each = []
        for row, said in zip(rows, answers, strict=True):
            true = self._labels(row, value_of(row, self.label_field))
            right = [p if name in true else 1 - p for name, p in said["probabilities"].items()]
            each.append(Verdict(true, said["predicted"], None, sum(map(nats, right)) / len(right)))
        return Verdicts(each)
