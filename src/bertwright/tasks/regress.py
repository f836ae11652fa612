"""Regression: a score for a text or for a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import frexp, isfinite, log2
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import RecipeError
from ..flow import Batch, Example, Loss, Row
from ..nn.rounding import in_even_rows
from ..nn.scores import Scores
from ..seeds import Draws
from ..sums import correlation, ratio
from .base import Verdict, Verdicts
from .fields import labelled, number_of, refuse_unlabelled, text_of
from .ranks import spearman
from .sequences import LabelledSequences


@dataclass(frozen=True, kw_only=True)
class Regress(LabelledSequences):
    """A number a row, learned by its squared error. The text stands in the column `first`, a second one in `second`.

    Errors count in `unit`, and predictions begin at `center`, so that scores of any order are learned alike; where no
    unit is given these are the mean of the training rows' scores, and their standard deviation to a power of two.
    """

    hf_class = "SequenceClassification"
    pipeline = "text-classification"
    grades = True

    first: str = "text"
    second: str = ""
    label_field: str = "score"
    pooling: str = ""
    unit: float = 0.0
    center: float = 0.0

    def __post_init__(self) -> None:
        if self.unit < 0 or not isfinite(self.unit) or (self.unit and frexp(self.unit)[0] != 0.5):
            raise RecipeError(
                f"{self.name}.unit is a power of two, as 0.25 or 8, or 0 for the rows' own: not {self.unit}"
            )

    def settled(self, rows: Iterable[Row]) -> Regress:
        """Reads the scores' mean and spread off the rows, where no unit is given; every score is looked at."""
        scores = np.array([number_of(row, self.label_field) for row in rows])
        if self.unit or not len(scores):
            return self
        spread = float(scores.std())
        return replace(self, unit=2.0 ** round(log2(spread)) if spread else 1.0, center=float(scores.mean()))

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        return super().made(config) and config.num_labels == 1

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where it gave a score before."""
        return not name.startswith("classifier.") or self.made(config)

    def config_changes(self) -> dict[str, Any]:
        names = {"id2label": {0: self.label_field}, "label2id": {self.label_field: 0}}
        return {**names, "problem_type": "regression"}

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        score = None if item.fields.get(self.label_field) is None else number_of(item, self.label_field)
        yield labelled(text_of(item, self.first, self.second), self.name, score)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for an example whose score is not known."""
        refuse_unlabelled(examples, self.name)
        scores = torch.tensor([example.labels[self.name] for example in examples])
        return self.at_firsts(batch, scores)

    def head(self, encoder: Encoder) -> nn.Module:
        """The pooler, dropout and a layer of one output: transformers' ...ForSequenceClassification with one label."""
        output = called(Scores(encoder.config.hidden_size, self._unit, self.center), encoder.classifier_name)
        return self.sequence_head(encoder, encoder.pooler(), output)

    @property
    def _unit(self) -> float:
        return self.unit or 1.0

    def asks(self, batch: Batch) -> Batch:
        nothing = torch.zeros(len(batch), device=batch.ids.device)
        return self.at_firsts(batch, nothing)

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[S, 1], in fp32 at least: bf16 would know no score between 4 and 4.03."""
        pooled = self.vectors(encoder, batch, batch.labels[self.name].positions)
        with torch.autocast(pooled.device.type, enabled=False):
            return {self.name: in_even_rows(head, pooled.to(torch.promote_types(pooled.dtype, torch.float32)))}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Squared errors in units; the measures are these and the moments of (true, said), which a correlation is made
        of, from the center on."""
        said = self.logits(encoder, head, batch)[self.name].squeeze(-1)
        true = batch.labels[self.name].values
        total = ((said - true) / self._unit).square().sum()
        x, y = ((side.double() - self.center) / self._unit for side in (true, said.detach()))
        moments = torch.stack((torch.ones_like(x), x, y, x * x, y * y, x * y), 1).sum(0)
        return Loss({self.name: total}, {f"{self.name}.squares": total.detach(), f"{self.name}.moments": moments})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Mean squared error and Pearson correlation."""
        moments = sums[f"{self.name}.moments"]
        return {
            f"{self.name}.mse": ratio(sums[f"{self.name}.squares"], moments[0]) * self._unit**2,
            f"{self.name}.pearson": correlation(moments),
        }

    def grade(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Spearman's correlation: ranks are known only when all rows are."""
        true = [number_of(row, self.label_field) for row in rows]
        return {f"{self.name}.spearman": spearman(true, [answer["predicted"] for answer in answers])}

    def score(self, report: Mapping[str, float]) -> float:
        return report[f"{self.name}.pearson"]

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        said = self.logits(encoder, head, self.asks(batch))[self.name].squeeze(-1)
        return [{"predicted": score} for score in said.tolist()]

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The loss of a row is its squared error."""
        true = [number_of(row, self.label_field) for row in rows]
        said = [answer["predicted"] for answer in answers]
        return Verdicts([Verdict(x, y, None, (x - y) ** 2) for x, y in zip(true, said, strict=True)])
