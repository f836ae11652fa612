"""Masked LM, alone and beside a prediction on pairs: the loss sees labelled tokens only, logits come when looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn
from transformers import PretrainedConfig

from ...encoders.base import Encoder
from ...errors import InputError
from ...flow import Batch
from ...nn.rounding import in_even_rows
from ...tasks.base import Task
from ...tasks.joint import Joint
from ...tasks.mlm import MaskedLM
from ...tasks.nsp import NextSentence
from .heads import Asked, Head
from .outputs import LateMaskedLMOutput, LatePreTrainingOutput, Later
from .padding import Grid, at_labels, labels_of_tokens, refuse_outside
from .passes import Given, Pass


def words_labelled(batch: Batch, grid: Grid, labels: Tensor) -> Batch:
    """The batch with masked LM's labels [B, L]; those of padding are left out."""
    size = batch.vocabulary.size
    values = labels_of_tokens(labels, grid, size, f"the vocabulary has {size} tokens")
    return at_labels(batch, "mlm", batch.indices, values)


def pairs_labelled(name: str, task: str, batch: Batch, labels: Tensor) -> Batch:
    """The batch with the labels 0 or 1 of pairs [B]."""
    values = labels.flatten().long()
    if len(values) != len(batch):
        raise InputError(f"{name} is {list(labels.shape)}, and there are {len(batch)} rows; each has one label")
    refuse_outside(name, values, 2, "a pair is 0, is next, or 1, is not", ignored=True)
    return at_labels(batch, task, batch.firsts, values)


class ForMaskedLM(Head):
    """`losses` are those of masked LM; `forward`'s `logits` [B, L, V] are computed when they are first looked at."""

    shares_words = True

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        return MaskedLM()

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        return self.native.task, words_labelled(batch, grid, labels["labels"]) if labels else batch

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> LateMaskedLMOutput:
        batch = replace(batch, reads=None)
        one, head = asked.passed(self.core, batch, grid), self.native.head
        loss = task.loss(Given(self.core, one.hidden), head, batch) if batch.labels else None  # type: ignore[arg-type]
        logits = _later(self.core, head, one, grid)
        return LateMaskedLMOutput(
            loss=None if loss is None else self.mean(loss, batch, asked),  # type: ignore[arg-type]
            logits=logits,  # type: ignore[arg-type]  # until it is looked at
            **asked.besides(one),
        )


class ForPreTraining(Head):
    """Masked LM and next sentence; `prediction_logits` [B, L, V] are computed when they are first looked at.

    Either label may be missing: its loss is then left out.
    """

    label_names = ("labels", "next_sentence_label")
    accepts_loss_kwargs = False
    shares_words = True

    @classmethod
    def task_of(cls, config: PretrainedConfig) -> Task:
        return Joint(parts=(MaskedLM(), NextSentence()))

    def labelled(self, batch: Batch, grid: Grid, labels: Mapping[str, Tensor]) -> tuple[Task, Batch]:
        if "labels" in labels:
            batch = words_labelled(batch, grid, labels["labels"])
        if "next_sentence_label" in labels:
            batch = pairs_labelled("next_sentence_label", "nsp", batch, labels["next_sentence_label"])
        return self.native.task, batch

    def output(self, task: Task, batch: Batch, grid: Grid, asked: Asked) -> LatePreTrainingOutput:
        batch = replace(batch, reads=None)
        one, heads = asked.passed(self.core, batch, grid), self.native.head
        loss = task.loss(Given(self.core, one.hidden), heads, batch) if batch.labels else None  # type: ignore[arg-type]
        logits = _later(self.core, heads.get_submodule("mlm"), one, grid)
        return LatePreTrainingOutput(
            loss=None if loss is None else self.mean(loss, batch, asked),  # type: ignore[arg-type]
            prediction_logits=logits,  # type: ignore[arg-type]  # until it is looked at
            seq_relationship_logits=in_even_rows(heads.get_submodule("nsp"), one.hidden[batch.firsts]),  # type: ignore[arg-type]
            **asked.besides(one),
        )


def _later(encoder: Encoder, predictor: nn.Module, one: Pass, grid: Grid) -> Later:
    """The logits [B, L, V]."""
    weights = (encoder.word_embeddings.weight, *predictor.parameters())
    return Later(lambda: grid.back(encoder.logits(predictor, one.hidden)), one.hidden.device, weights)
