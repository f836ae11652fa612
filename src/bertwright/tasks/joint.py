"""The sum of tasks: several at once on the same examples, in one pass of the encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..errors import RecipeError
from ..flow import Batch, Example, Loss, Row
from ..seeds import Draws
from .base import Companion, LabelledTask, Task

WEIGHTS = "weights"
"""The table of a sum's weights among those of its parts' settings."""


@dataclass(frozen=True, kw_only=True)
class Joint(Task):
    """Several tasks at once on the same examples: one pass of the encoder, the losses added by weight.

    Each weighs 1 unless `weights` says otherwise; what is reported of a part is not weighted. At most one part is
    learned from labelled rows; what is held out is then judged twice, with the ids as they are and as the other parts
    change them, and the score is that part's alone.

    Raises RecipeError when two parts need examples of their own shape, change the input ids, have the same name or are
    learned from labels, when they read different data, or when the weights are not numbers of at least 0, one a part.
    """

    parts: tuple[Task, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for trait, why in (("cuts", "need examples of their own"), ("changes_ids", "change the input ids")):
            clash = [part.name for part in self.parts if getattr(part, trait)]
            if len(clash) > 1:
                raise RecipeError(f"{' and '.join(clash)} cannot be joined: both {why}, and only one may")
        if len({part.reads for part in self.parts if not part.joins_any}) > 1:
            raise RecipeError(f"{self.name} cannot be joined: some parts read documents, others labelled rows")
        if graded := [part.name for part in self.parts if isinstance(part, LabelledTask) and part.grades]:
            raise RecipeError(
                f"{self.name} cannot be joined: {graded[0]} is judged by its answers, and a sum gives none"
            )
        if len({part.name for part in self.parts}) < len(self.parts):
            raise RecipeError(
                f"{self.name} cannot be joined: each part is told apart by its name, and two have the same"
            )
        if len(labelled := [part.name for part in self.parts if isinstance(part, LabelledTask)]) > 1:
            raise RecipeError(f"{' and '.join(labelled)} cannot be joined: both are learned from labels, one a row")
        weights = self.weights or (1.0,) * len(self.parts)
        if len(weights) != len(self.parts):
            raise RecipeError(
                f"{self.name} has {len(self.parts)} parts and {len(weights)} weights; give one weight a part"
            )
        if not all(0 <= weight < inf for weight in weights) or not any(weights):
            raise RecipeError(
                f"the weights of {self.name} are numbers of at least 0, one of them above it, not "
                + ", ".join(map(str, weights))
            )
        object.__setattr__(self, "weights", weights)

    @property
    def reads(self) -> type:  # type: ignore[override]  # a sum reads what its parts read
        return next((part.reads for part in self.parts if not part.joins_any), self.parts[0].reads)

    @property
    def hf_class(self) -> str:  # type: ignore[override]  # a sum is exported by what its parts are
        classes = {part.hf_class for part in self.parts}
        pretraining = {"MaskedLM", "NextSentencePrediction"}
        return "PreTraining" if classes == pretraining else min(classes) if len(classes) == 1 else ""

    @property
    def arch(self) -> str:  # type: ignore[override]
        return next((part.arch for part in self.parts if part.arch), "")

    @property
    def several(self) -> bool:  # type: ignore[override]
        return any(part.several for part in self.parts)

    @property
    def needs_other_documents(self) -> bool:  # type: ignore[override]
        return any(part.needs_other_documents for part in self.parts)

    @property
    def name(self) -> str:
        return "+".join(part.name for part in self.parts)

    @property
    def settings(self) -> dict[str, Any]:
        weights = {part.name: weight for part, weight in zip(self.parts, self.weights, strict=True)}
        return {part.name: part.settings for part in self.parts} | {WEIGHTS: weights}

    def settled(self, rows: Iterable[Row]) -> Joint:
        rows = list(rows)
        return dataclasses.replace(self, parts=tuple(part.settled(rows) for part in self.parts))

    def begun_from(self, config: PretrainedConfig) -> Joint:
        return dataclasses.replace(self, parts=tuple(part.begun_from(config) for part in self.parts))

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        return all(part.continues(name, config) for part in self.parts)

    def config_changes(self) -> dict[str, Any]:
        return {key: value for part in self.parts for key, value in part.config_changes().items()}

    def companions(self, encoder: Encoder) -> dict[str, Companion]:
        return {name: one for part in self.parts for name, one in part.companions(encoder).items()}

    def files(self, encoder: Encoder) -> dict[str, str]:
        return {path: text for part in self.parts for path, text in part.files(encoder).items()}

    def at(self, done: float) -> Joint:
        return dataclasses.replace(self, parts=tuple(part.at(done) for part in self.parts))

    def judging(self) -> Joint:
        return dataclasses.replace(self, parts=tuple(part.judging() for part in self.parts))

    def passes(self) -> tuple[Task, ...]:
        """Apart where one answers for rows: what it will be asked for has nothing hidden."""
        changing = tuple(part.changes_ids for part in self.parts)
        if not any(changing) or not any(isinstance(part, LabelledTask) for part in self.parts):
            return (self,)
        return self._only([not change for change in changing]), self._only(changing)

    def _only(self, which: Sequence[bool]) -> Joint:
        return Joint(parts=tuple(compress(self.parts, which)), weights=tuple(compress(self.weights, which)))

    def labels_of(self, batch: Batch) -> list[str]:
        return [name for part in self.parts for name in part.labels_of(batch)]

    def answering(self, head: nn.Module) -> Iterator[tuple[LabelledTask, nn.Module]]:
        for part in self.parts:
            yield from part.answering(head[part.name])  # type: ignore[index, arg-type]

    def examples(self, item: Any, rng: np.random.Generator) -> Iterator[Example]:
        bound = [part for part in self.parts if not part.joins_any]
        cutter = next((part for part in self.parts if part.cuts), (bound or self.parts)[0])
        return cutter.examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        for part in self.parts:
            batch = part.label(batch, examples, rng)
        return batch

    def head(self, encoder: Encoder) -> nn.Module:
        return _sharing(nn.ModuleDict({part.name: part.head(encoder) for part in self.parts}))

    def decided(self, head: nn.Module, batch: Batch) -> Batch:
        for part in self.parts:
            batch = part.decided(head[part.name], batch)  # type: ignore[index, arg-type]
        return batch

    def learned(self, head: nn.Module, sums: Mapping[str, Tensor]) -> None:
        for part in self.parts:
            part.learned(head[part.name], sums)  # type: ignore[index, arg-type]

    def asks(self, batch: Batch) -> Batch:
        for part in self.parts:
            batch = part.asks(batch)
        return batch

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        shared = _Once(encoder)
        asked = [part for part in self.parts if part.labels_of(batch)]
        said = [part.logits(shared, head[part.name], batch) for part in asked]  # type: ignore[index, arg-type]
        return {name: logits for one in said for name, logits in one.items()}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        shared = _Once(encoder)
        totals: dict[str, Tensor] = {}
        measures: dict[str, Tensor] = {}
        for part, weight in zip(self.parts, self.weights, strict=True):
            if not part.labels_of(batch):
                continue
            loss = part.loss(shared, head[part.name], batch)  # type: ignore[index, arg-type]
            totals |= {name: total * weight for name, total in loss.totals.items()}
            measures |= loss.measures
        return Loss(totals, measures)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        return {name: value for part in self.parts for name, value in part.report(sums).items()}

    def score(self, report: Mapping[str, float]) -> float:
        whole = [*zip(self.parts, self.weights, strict=True)]
        for_labels = [(part, weight) for part, weight in whole if isinstance(part, LabelledTask)]
        return sum(weight * part.score(report) for part, weight in for_labels or whole)


def _sharing(heads: nn.ModuleDict) -> nn.ModuleDict:
    """The heads, of whose layers those with one name in transformers are one: ModernBERT's classifiers and its masked
    LM read through the same, so that a checkpoint has both."""
    known: dict[str, nn.Module] = {}
    for owner in [*heads.modules()]:
        for own, layer in owner.named_children():
            if name := vars(layer).get("hf_name"):
                setattr(owner, own, known.setdefault(name, layer))
    return heads


class _Once:
    """An encoder that goes over each batch once, however many heads ask."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._batch: Batch | None = None
        self._hidden = torch.empty(0)

    def __call__(self, batch: Batch) -> Tensor:
        if batch is not self._batch:
            self._batch, self._hidden = batch, self._encoder(batch)
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def joined(first: Task, second: Task) -> Joint:
    """Both at once, with the weights that sums among them have. Raises RecipeError as `Joint` does."""
    one, other = (task if isinstance(task, Joint) else Joint(parts=(task,)) for task in (first, second))
    return Joint(parts=one.parts + other.parts, weights=one.weights + other.weights)
