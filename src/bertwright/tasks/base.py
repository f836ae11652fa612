"""A task: what a run learns, from cutting its examples to reporting its score, in one class."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from math import log
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..flow import Batch, Document, Example, Loss, Row
from ..seeds import Draws
from .fields import value_of


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
    recipe: ClassVar[str] = ""
    """The shipped recipe that pretraining by it starts from; empty: the default one."""
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
    fills_from: ClassVar[int | None] = None
    """Where its head, a `predictor`, says what is hidden at a place: so many tokens further; None: nowhere."""
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

    def begun_from(self, config: PretrainedConfig) -> Task:
        """The task with what it does not say filled in as the checkpoint has it that its encoder starts from."""
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

    def __add__(self, other: Task) -> Any:
        return import_module(".joint", __package__).joined(self, other)  # By its name: its file is built on this one.


class Verdict(NamedTuple):
    """What a model said of a row of which it is known what is true: a mistake, or not."""

    true: Any
    said: Any
    probability: float | None
    """Of what was said, where one thing was."""
    loss: float
    """How far off that is: in nats of what is true where it has a probability, else as the task counts it."""


class Confusion(NamedTuple):
    """How often each class was taken for each."""

    classes: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]
    """By (true, said)."""
    of: str
    """What is counted, for people: rows, or tokens."""


class Verdicts(NamedTuple):
    """One verdict a row; and where there are classes, which of them were taken for which."""

    rows: list[Verdict]
    confusion: Confusion | None = None


def nats(probability: float) -> float:
    """The loss of what had this probability; one that fp32 has rounded to 0 counts as 1e-38."""
    return -log(max(probability, 1e-38))


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

    def check(self, row: Row) -> None:
        """Raises InputError for a row that says nothing of what is right, to be learned from or judged by."""
        value_of(row, self.answer_field)

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
        """Labelled rows beside the model's answers to them; None where an answer is neither right nor wrong."""
        return None

    def answering(self, head: nn.Module) -> Iterator[tuple[LabelledTask, nn.Module]]:
        yield self, head
