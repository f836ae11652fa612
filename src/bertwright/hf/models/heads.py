"""Heads under transformers' names: a task of this package's, its labels from padded tensors, transformers' outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.utils.generic import ModelOutput

from ...encoders.base import Encoder
from ...encoders.naming import called, hf_names
from ...errors import InputError
from ...flow import Batch, Document, Loss
from ...run.provenance import Provenance, versions
from ...run.start import origins
from ...tasks.base import Task
from ...tasks.model import Model
from ...tasks.pairs import OBJECTIVE
from .face import HERE, LAW, Face
from .further import nothing
from .padding import IGNORED, Grid
from .passes import Given, Pass, passed
from .tree import plant, tie


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for besides its inputs and labels; each as in the config where it does not say."""

    output_attentions: bool
    output_hidden_states: bool
    return_dict: bool
    num_items_in_batch: float | None

    @classmethod
    def of(cls, said: Mapping[str, Any], config: PretrainedConfig, name: str) -> Asked:
        """Raises TypeError for what no call takes, unless it is None or False, which ask for nothing."""
        known = {field: getattr(config, field, None) for field in cls.__slots__}
        if unknown := [word for word, value in said.items() if word not in known and not nothing(value)]:
            raise TypeError(
                f"{name} takes no {', '.join(unknown)}; besides inputs and labels it takes {', '.join(known)}"
            )
        flags = {**known, **{word: said[word] for word in known if said.get(word) is not None}}
        items = flags.pop("num_items_in_batch")
        return cls(**{word: bool(value) for word, value in flags.items()}, num_items_in_batch=items)

    def passed(self, encoder: Encoder, batch: Batch, grid: Grid) -> Pass:
        return passed(encoder, batch, grid, states=self.output_hidden_states, looks=self.output_attentions)

    def besides(self, one: Pass) -> dict[str, Any]:
        return {"hidden_states": one.states, "attentions": one.looks}


class Head(Face):
    """A task's head on the encoder.

    `native` is the same model in this package's own terms. `losses` and `counts` are for a loop that divides once a
    step: summed losses, and how many predictions are in each; there the last layer is computed at labelled tokens
    alone. `forward` gives the means.
    """

    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    """The arguments that are labels."""
    accepts_loss_kwargs: ClassVar[bool] = True
    """To transformers' Trainer: the loss can be divided by the labels of the whole step, `num_items_in_batch`."""

    shares_words: ClassVar[bool] = False
    """Whether it predicts tokens, by the word embeddings."""

    native: Model

    def __init__(self, config: PretrainedConfig, *, encoder: Encoder | None = None) -> None:
        super().__init__(config, encoder=encoder)
        with HERE:
            native = Model(self.core, self.task_of(self.config))
            self.core.draw_head(native.head, self.seed, LAW)
        vars(self)["native"] = native
        objective = native.task.config_changes().get(OBJECTIVE)
        if objective is not None and hasattr(self.config, OBJECTIVE):
            setattr(self.config, OBJECTIVE, objective)
        base = self.base(native.head)
        if self.shares_words:
            vars(base)["under"] = type(self).__name__
        self.add_module(self.base_model_prefix, base)
        plant(self, native.head)
        if self.shares_words:
            tie(self, self.kind, self.core.word_embeddings)
        own = {name for name, _ in self.named_parameters()}
        self._keys_to_ignore_on_save = [name for name in self.state_dict() if name not in own]

    @classmethod
    @abstractmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        """The task whose head a config asks for."""

    @abstractmethod
    def base(self, head: nn.Module) -> Face:
        """The model without the head, but for a pooler that transformers counts in."""

    @abstractmethod
    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        """The task that learns from such labels, and the batch with them. Raises InputError for what is no label."""

    @abstractmethod
    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> ModelOutput: ...

    @property
    def encoder(self) -> Encoder:
        return self.core

    @property
    def parts(self) -> nn.Module:
        return self.native.head

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer over the vocabulary: its weights and bias, which compute nothing there."""
        return self.get_submodule(self.kind.decoder_name) if self.shares_words else None

    @property
    def num_labels(self) -> int:
        return self.config.num_labels or 0

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        return self.native.task.continues(name, config)

    def losses(self, **inputs: Tensor) -> Loss:
        """Summed losses with gradient and summed measures, without a logit that no label asks for.

        Takes what `forward` takes as tensors, on this device or, which waits for nothing, on the CPU. Raises InputError
        for labels out of range, and where there are none.
        """
        task, batch = self._labelled(inputs)
        return task.loss(self.core, self.native.head, batch.to(self.device))

    def counts(self, **inputs: Tensor) -> dict[str, int]:
        """How many predictions each of `losses` sums over; -100 and labels of padding are not counted."""
        return self.counted(self._labelled(inputs)[1])

    def counted(self, batch: Batch) -> dict[str, int]:
        return {name: int((labels.values != IGNORED).sum()) for name, labels in batch.labels.items()}

    def _labelled(self, inputs: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        rest = dict(inputs)
        labels = _labels(rest, self.label_names)
        known = (*self.kind.inputs, "position_ids")
        if unknown := [name for name, value in rest.items() if name not in known and not nothing(value)]:
            taken = ", ".join((*known, *self.label_names))
            raise InputError(f"{type(self).__name__} takes no {', '.join(unknown)}; it takes {taken}")
        order = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
        task, batch = self.labelled(*self.read(*(rest.get(name) for name in order)), labels)
        if not batch.labels:
            raise InputError(f"{type(self).__name__} has no loss without labels: {' or '.join(self.label_names)}")
        return task, batch

    def answered(self, inputs: tuple[Tensor | None, ...], labels: Mapping[str, Tensor | None], **said: Any) -> Any:
        """What `forward` returns for the inputs that `read` takes."""
        labels = {**labels, **_labels(said, self.label_names)}
        asked = Asked.of(said, self.config, f"{type(self).__name__}.forward")
        batch, grid = self.read(*inputs)
        task, batch = self.labelled(batch, grid, {name: x for name, x in labels.items() if x is not None})
        output = self.output(task, batch.to(self.device), grid, asked)
        return output if asked.return_dict else output.to_tuple()

    def mean(self, loss: Loss, batch: Batch, asked: Asked) -> Tensor:
        """The losses, each divided by its count in this batch, or by that of all labels of the step."""
        counts = self.counted(batch)
        parts = [total / (asked.num_items_in_batch or max(1, counts[name])) for name, total in loss.totals.items()]
        return torch.stack(parts).sum()

    @property
    def provenance(self) -> Provenance:
        """Where each tensor comes from, and what training from there is called."""
        native, origin = self.native, self.origin
        loaded = {name.removeprefix(f"{self.base_model_prefix}.") for name in origin.loaded}
        named = set(hf_names(native.head).values())
        heads = {name for name in named if name.removeprefix(f"{self.base_model_prefix}.") in loaded}
        return Provenance(
            task=native.task.name,
            reads="text" if native.task.reads is Document else "rows",
            settings=native.task.settings,
            seed=self.seed,
            start=origin.start,
            tensors=origins(native, bool(origin.loaded), heads),
            data={},
            lineage=origin.lineage,
            versions=versions(),
        )

    def sentence(self) -> str:
        return self.provenance.sentence()

    def save_pretrained(self, save_directory: Any, is_main_process: bool = True, *rest: Any, **named: Any) -> None:
        super().save_pretrained(save_directory, is_main_process, *rest, **named)
        if is_main_process:
            self.provenance.write(Path(save_directory))

    def __setattr__(self, name: str, value: Any) -> None:
        """A last layer may be replaced by a person's own, as in `model.classifier = nn.Linear(...)`.

        Raises AttributeError for what nothing would read.
        """
        ours = type(self).forward.__module__.startswith("bertwright.")
        if ours and name == "dropout" and isinstance(value, nn.Module):
            raise AttributeError(
                f"{type(self).__name__}.dropout would be read by nothing: model.encoder.set_dropout(p) sets what the "
                "encoder drops, classifier_dropout of the config what the head does"
            )
        if isinstance(value, nn.Module) and name in self.__dict__.get("_modules", {}):
            self._replace(name, value)
        super().__setattr__(name, value)

    def _replace(self, name: str, value: nn.Module) -> None:
        old = self._modules[name]
        places = [(part, key) for part in self.parts.modules() for key, child in part.named_children() if child is old]
        if not places or next(value.children(), None) is not None:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be replaced by a {type(value).__name__}: only a single layer of "
                "the head can, by a single layer"
            )
        for part, key in places:
            part.add_module(key, called(value, name))
        if isinstance(value, nn.Linear) and value.out_features != self.num_labels:
            self.config.num_labels = value.out_features


def _labels(said: dict[str, Any], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Takes out what is a label."""
    return {name: said.pop(name) for name in names if said.get(name) is not None}


def taken(task: Task, encoder: Encoder, logits: Tensor, batch: Batch, reads: Tensor | None) -> Loss:
    """The task's loss of logits that there are, made at `reads`: what dropped a share of its input drops no other."""
    return task.loss(Given(encoder, logits), nn.Identity(), replace(batch, reads=reads))  # type: ignore[arg-type]
