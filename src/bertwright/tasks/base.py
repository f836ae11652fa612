"""A task: what a run learns, from cutting its examples to reporting its score, in one class; and the sum of tasks."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from math import inf
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..errors import RecipeError
from ..flow import Batch, Document, Example, Loss, Row
from ..seeds import Draws

WEIGHTS = "weights"
"""The table of a sum's weights among those of its parts' settings."""


class Companion(NamedTuple):
    """A model of its own that a head makes together with tensors of the encoder, beside the one that is trained.

    It is written into a folder of the checkpoint; the head's tensors of it are named after that, as `generator/...`.
    """

    config: PretrainedConfig
    architecture: str
    """transformers' class"""
    shares: str
    """How transformers' names of the encoder's tensors begin that it has as well."""


class Task(ABC):
    """A head, its labels, its loss and its measures. Concrete tasks are final frozen dataclasses; fields are settings.

    `examples` and `label` run on the host, `head` and `loss` on the device. Nothing in a task depends on how examples
    are grouped into batches: labels are drawn by the example's key, losses and measures are sums.
    """

    reads: ClassVar[type[Document] | type[Row]]
    """What it is learned from: documents of text, or labelled rows."""
    hf_class: ClassVar[str]
    """The end of the name of transformers' class with this head, as in `BertForMaskedLM`; "" where there is none."""
    arch: ClassVar[str] = ""
    """The architecture that its head is for; empty: any."""
    pipeline: ClassVar[str] = ""
    """transformers' pipeline for a model with this head, where there is one."""
    cuts: ClassVar[bool] = False
    """Whether its examples are of a shape that only it can make."""
    several: ClassVar[bool] = False
    """Whether transformers' class takes several sequences an example: [examples, sequences, tokens]."""
    changes_ids: ClassVar[bool] = False
    """Whether its labels come with a change of the input ids."""
    needs_other_documents: ClassVar[bool] = False
    """Whether its examples take text from a second document."""
    joins_any: ClassVar[bool] = False
    """Whether its labels need token ids alone, so that it goes with examples cut from whatever another task reads."""

    @property
    def name(self) -> str:
        """The name of the file that defines it, as in `mlm`."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def settings(self) -> dict[str, Any]:
        """Its fields, as they go into a recipe."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]  # concrete tasks are dataclasses

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        """Whether a transformers checkpoint with that config has this head, as far as the config says."""
        kind = next(iter(config.architectures or ()), "")
        return bool(cls.hf_class) and kind.endswith(f"For{cls.hf_class}")

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        """The task that a transformers checkpoint with this head was trained on, as far as its config says."""
        return cls()

    def settled(self, rows: Iterable[Row]) -> Task:
        """The task with what it must know of its data filled in, such as the classes there are."""
        return self

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """Whether the head's tensor of that transformers name means the same in a checkpoint with that config."""
        return True

    def config_changes(self) -> dict[str, Any]:
        """What transformers' config of a model with this head says besides."""
        return {}

    def companions(self, encoder: Encoder) -> dict[str, Companion]:
        """Models beside the one that is trained, by the folder of the checkpoint that they are written into."""
        return {}

    def files(self, encoder: Encoder) -> dict[str, str]:
        """Text files that stand beside the weights of a model with this head, by their path in its folder."""
        return {}

    def at(self, done: float) -> Task:
        """The task as it labels when the share `done` of a run, 0 to 1, is done."""
        return self

    def judging(self) -> Task:
        """The task as it labels what is held out: alike for all recipes, so that they can be compared."""
        return self

    def passes(self) -> tuple[Task, ...]:
        """As whom it labels what is held out: each goes through the model by itself."""
        return (self,)

    def labels_of(self, batch: Batch) -> list[str]:
        """The names of its own predictions among those that the batch asks for."""
        return [name for name in batch.labels if name.partition(".")[0] == self.name]

    def answering(self, head: nn.Module) -> Iterator[tuple[LabelledTask, nn.Module]]:
        """The part that answers for rows, with its part of the head; nothing where there is none."""
        yield from ()

    def decided(self, head: nn.Module, batch: Batch) -> Batch:
        """The batch as the encoder sees it, with what hangs on the head's state decided, on the device."""
        return batch

    def learned(self, head: nn.Module, sums: Mapping[str, Tensor]) -> None:  # noqa: B027  # most have no state
        """Takes a step's measures, summed over all of its batches, into the head's state, which is in its buffers."""

    @abstractmethod
    def examples(self, item: Any, rng: np.random.Generator) -> Iterator[Example]:
        """Cuts an item into sequences of at most `item.length` tokens."""

    def gathered(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The examples of a step, or of what is held out, those put together that are learned against each other.

        What is put together meets in one forward pass, however a step is divided.
        """
        return iter(examples)

    @abstractmethod
    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Says what is predicted at which tokens, hiding some of the ids where the task is to find them."""

    @abstractmethod
    def head(self, encoder: Encoder) -> nn.Module:
        """Fresh parameters, tagged with transformers' names, whatever their values."""

    @abstractmethod
    def asks(self, batch: Batch) -> Batch:
        """The batch with every prediction asked for that the head can make, the answers left at zero."""

    @abstractmethod
    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, ...] what the head says at the labelled positions, by the name of the prediction."""

    @abstractmethod
    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Summed losses with gradient, and summed measures."""

    @abstractmethod
    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Measures added over batches to the numbers that people read."""

    def score(self, report: Mapping[str, float]) -> float:
        """What the best checkpoint has most of."""
        return -report[f"{self.name}.loss"]

    def __add__(self, other: Task) -> Joint:
        mine, theirs = (task if isinstance(task, Joint) else Joint(parts=(task,)) for task in (self, other))
        return Joint(parts=mine.parts + theirs.parts, weights=mine.weights + theirs.weights)


class Verdict(NamedTuple):
    """What a model said of a row whose class is known: a mistake, or not."""

    true: str
    said: str
    probability: float
    """Of what was said."""
    loss: float
    """In nats, of what is true."""


class Verdicts(NamedTuple):
    """One verdict a row, and all classes in their order."""

    classes: tuple[str, ...]
    rows: list[Verdict]


class LabelledTask(Task):
    """A task learned from labelled rows, whose model answers for new ones.

    What adds over batches is a measure of `loss`. What does not, such as a rank correlation or the match of an answer
    that is put together from several sequences, is for `grade`: a task that `grades` gets all rows held out with the
    model's answers to them, for which they go through the model a second time.
    """

    reads = Row
    grades: ClassVar[bool] = False
    """Whether `grade` adds measures to those of `report`."""

    @property
    @abstractmethod
    def answer_field(self) -> str:
        """The column that holds what is right, which prediction does not look at."""

    @abstractmethod
    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """What the model says of each example of a batch, which may lack labels."""

    def together(self, row: Row, examples: Sequence[Example], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the model says of a row, from what it says of the examples that the row was cut into."""
        (answer,) = answers
        return answer

    def grade(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Measures that are no sums over batches, of all rows that are judged with the answers to them."""
        return {}

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts | None:
        """Labelled rows beside the model's answers to them; None where these are not one class a row."""
        return None

    def answering(self, head: nn.Module) -> Iterator[tuple[LabelledTask, nn.Module]]:
        yield self, head


@dataclass(frozen=True, kw_only=True)
class Joint(Task):
    """Several tasks at once on the same examples: one pass of the encoder, the losses added by weight.

    Each weighs 1 unless `weights` says otherwise; what is reported of a part is not weighted. At most one part is learned
    from labelled rows; what is held out is then judged twice, with the ids as they are and as the other parts change
    them, and the score is that part's alone.

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
        return nn.ModuleDict({part.name: part.head(encoder) for part in self.parts})

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
