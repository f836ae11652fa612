"""Heads whose answers are few: on sequences, on tokens, on several sequences weighed against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_outputs import (
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from ...errors import InputError
from ...flow import Batch, Loss
from ...tasks.base import Task
from ...tasks.choice import Choice
from ...tasks.classify import Classify
from ...tasks.multilabel import MultiLabel
from ...tasks.nsp import NextSentence
from ...tasks.regress import Regress
from ...tasks.sequences import LabelledSequences
from ...tasks.span import Span
from ...tasks.tag import Tag
from .heads import Asked, Head, taken
from .padding import IGNORED, Grid, at_labels, labels_of_tokens, refuse_outside, restarting
from .passes import Given, Pass
from .vocabulary import pairs_labelled

REGRESSION, SINGLE, MULTI = "regression", "single_label_classification", "multi_label_classification"


class _Answering(Head):
    """Logits first, then the loss of these."""

    def said(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> tuple[Pass, dict[str, Tensor], Batch]:
        """The pass, the logits by the name of the prediction, and the batch in which they were asked for."""
        asking = task.asks(replace(batch, labels={}, reads=None))
        one = asked.passed(self.core, asking, grid)
        if asked.output_hidden_states or asked.output_attentions:
            asking = replace(asking, reads=None)
        return one, task.logits(Given(self.core, one.hidden), self.native.head, asking), asking  # type: ignore[arg-type]

    def loss_of(self, task: Task, logits: Tensor, batch: Batch, asked: Asked, reads: Tensor | None) -> Tensor | None:
        """The mean loss of logits made at `reads`; None without labels."""
        return self.mean(taken(task, self.core, logits, batch, reads), batch, asked) if batch.labels else None


class ForNextSentencePrediction(_Answering):
    """Label 0: the second segment follows the first, 1: it does not; `logits` [B, 2].

    `next_sentence_label`, as datasets and collators call it, is another name of `labels`. The signature of `forward`
    does not have it: transformers' Trainer has no loss in evaluation where one of the labels there is missing.
    """

    label_names = ("labels", "next_sentence_label")

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        return NextSentence()

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        for name, given in labels.items():
            batch = pairs_labelled(name, "nsp", batch, given)
        return self.native.task, batch

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> NextSentencePredictorOutput:
        one, said, _ = self.said(task, batch, grid, asked)
        loss = self.loss_of(task, said[task.name], batch, asked, batch.firsts)
        return NextSentencePredictorOutput(loss=loss, logits=said[task.name], **asked.besides(one))  # type: ignore[arg-type]


class ForSequenceClassification(_Answering):
    """`logits` [B, C]; labels are classes [B], with `problem_type` (or labels) of several each [B, C] of 0 and 1, and
    of regression [B] or [B, C]. Where the config has no `problem_type` the first labels decide, as in transformers."""

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> LabelledSequences:
        """Of several scores a row, for which no task here stands, the head is that of as many classes."""
        if _problem(config) == REGRESSION and config.num_labels == 1:
            return Regress.of_config(config)
        return (MultiLabel if _problem(config) == MULTI else Classify).of_config(config)

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        if _problem(self.config) != REGRESSION or self.num_labels == 1 or not name.startswith("classifier."):
            return super().continues(name, config)
        return config.problem_type == REGRESSION and config.num_labels == self.num_labels

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        if not labels:
            return self.native.task, batch
        given, several = labels["labels"], self.num_labels
        inferred = MULTI if several > 1 and given.is_floating_point() else _problem(self.config)
        problem = self.config.problem_type or inferred
        expected = (len(batch),) if problem == SINGLE or several == 1 else (len(batch), several)
        if given.numel() != torch.Size(expected).numel() or (problem == SINGLE and given.is_floating_point()):
            numbers = "whole numbers" if problem == SINGLE else "numbers"
            raise InputError(
                f"labels is {list(given.shape)} of {given.dtype}, and {problem} with num_labels {several} takes "
                f"{numbers} {list(expected)}"
            )
        if problem == SINGLE:
            what = f"the model has {several} classes (num_labels)"
            refuse_outside("labels", given.flatten(), several, what, ignored=True)
        self.config.problem_type = problem  # type: ignore[assignment]  # one of the three
        task = Regress.of_config(self.config) if problem == REGRESSION else self.task_of(self.config)
        batch = task.reading(batch)
        if problem == SINGLE:
            return task, at_labels(batch, task.name, batch.firsts, given.flatten().long())
        return task, batch.labelled(task.name, batch.firsts, given.view(expected).float())

    def losses(self, **inputs: Tensor) -> Loss:
        return self._of_each(super().losses(**inputs))

    def counted(self, batch: Batch) -> dict[str, int]:
        """Rows; with several labels or scores a row, each of these."""
        if self.config.problem_type == SINGLE:
            return super().counted(batch)
        return {name: labels.values.numel() for name, labels in batch.labels.items()}

    def mean(self, loss: Loss, batch: Batch, asked: Asked) -> Tensor:
        return super().mean(self._of_each(loss), batch, asked)

    def _of_each(self, loss: Loss) -> Loss:
        """Summed over labels where a row has several: the task sums their mean."""
        if self.config.problem_type != MULTI:
            return loss
        return loss._replace(totals={name: total * self.num_labels for name, total in loss.totals.items()})

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> SequenceClassifierOutput:
        one, said, _ = self.said(task, batch, grid, asked)
        loss = self.loss_of(task, said[task.name], batch, asked, batch.firsts)
        return SequenceClassifierOutput(loss=loss, logits=said[task.name], **asked.besides(one))  # type: ignore[arg-type]


class ForTokenClassification(_Answering):
    """`logits` [B, L, C], labels [B, L]."""

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        return Tag.of_config(config)

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        if not labels:
            return self.native.task, batch
        values = labels_of_tokens(labels["labels"], grid, self.num_labels, f"the model has {self.num_labels} classes")
        return self.task_of(self.config), at_labels(batch, "tag", batch.indices, values)

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> TokenClassifierOutput:
        one, said, _ = self.said(task, batch, grid, asked)
        loss = self.loss_of(task, said[task.name], batch, asked, None)
        return TokenClassifierOutput(loss=loss, logits=grid.back(said[task.name]), **asked.besides(one))  # type: ignore[arg-type]


class ForQuestionAnswering(_Answering):
    """`start_logits` and `end_logits` [B, L]; `start_positions` and `end_positions` [B] are columns.

    A position that is negative or behind the last column is not counted. The softmax is over a row's own tokens, so a
    row's loss does not depend on how far it is padded, as it does in transformers.
    """

    label_names = ("start_positions", "end_positions")
    accepts_loss_kwargs = False

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        return Span()

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        # Where an answer stands is counted in its own sequence; the encoder goes on seeing columns.
        if len(labels) == 1:
            raise InputError(f"{next(iter(labels))} without the other; an answer has a start and an end")
        for label, name in {"start_positions": "span.start", "end_positions": "span.end"}.items():
            if labels:
                batch = batch.reading(batch.indices)
                batch = batch.labelled(name, batch.firsts, _placed(label, labels[label], batch, grid))
        return self.native.task, batch

    def losses(self, **inputs: Tensor) -> Loss:
        task, batch = self._labelled(inputs)
        batch = batch.to(self.device)
        return task.loss(Given(self.core, self.core(batch)), self.native.head, _counted_anew(batch))  # type: ignore[arg-type]

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> QuestionAnsweringModelOutput:
        one, said, _ = self.said(task, batch, grid, asked)
        start, end = said["span.start"], said["span.end"]
        loss = self.loss_of(task, torch.stack((start, end), -1), _counted_anew(batch), asked, None)
        return QuestionAnsweringModelOutput(
            loss=loss,  # type: ignore[arg-type]
            start_logits=grid.back(start),  # type: ignore[arg-type]
            end_logits=grid.back(end),  # type: ignore[arg-type]
            **asked.besides(one),
        )


class ForMultipleChoice(_Answering):
    """Inputs [B, C, L], the C choices of each question; `logits` [B, C], labels [B]."""

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Choice:
        return Choice.of_config(config)

    def read(self, input_ids: Tensor | None, *rest: Tensor | None) -> tuple[Batch, Grid]:
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 3:
            found = list(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
            raise InputError(f"input_ids is {found}; expected are ids [questions, choices, columns]")
        batch, grid = super().read(input_ids.flatten(0, 1), *(None if x is None else x.flatten(0, 1) for x in rest))
        return replace(batch, sizes=(input_ids.shape[1],) * input_ids.shape[0]), grid

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        if not labels:
            return self.native.task, batch
        values, choices = labels["labels"].flatten().long(), batch.sizes[0]
        if len(values) != len(batch.sizes):
            raise InputError(f"labels is {list(labels['labels'].shape)}, and there are {len(batch.sizes)} questions")
        refuse_outside("labels", values, choices, f"a question has {choices} choices", ignored=True)
        first = torch.tensor([one.start for one in batch.examples], device=values.device)
        task = self.task_of(self.config)
        return task, task.reading(batch).labelled("choice", batch.firsts[first], values)

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> MultipleChoiceModelOutput:
        one, said, _ = self.said(task, batch, grid, asked)
        logits = said[task.name]
        loss = self.loss_of(task, logits.reshape(-1, 1), batch, asked, batch.firsts)
        return MultipleChoiceModelOutput(loss=loss, logits=logits, **asked.besides(one))  # type: ignore[arg-type]


def _problem(config: PretrainedConfig) -> str:
    return config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE)


def _counted_anew(batch: Batch) -> Batch:
    return replace(batch, positions=restarting(batch))


def _placed(name: str, columns: Tensor, batch: Batch, grid: Grid) -> Tensor:
    """[S] which token of its sequence stands in a row's column; IGNORED where that is none of the columns."""
    columns = columns.flatten().long()
    if len(columns) != len(batch):
        raise InputError(f"{name} is {list(columns.shape)}, and there are {len(batch)} rows")
    places = torch.full((grid.rows * grid.width,), IGNORED, device=columns.device)
    places[slice(None) if grid.places is None else grid.places] = restarting(batch)
    inside = (columns >= 0) & (columns < grid.width)
    found = places.view(grid.rows, -1).gather(1, columns.clamp(0, grid.width - 1)[:, None]).flatten()
    if bool((lost := inside & (found == IGNORED)).any()):
        row = int(lost.nonzero()[0])
        raise InputError(f"{name}: {int(columns[row])} at row {row}; that column is padding")
    return torch.where(inside, found, IGNORED)
