"""What tasks share whose head reads one vector a sequence: which vector that is, and the head on it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..flow import Batch
from ..nn.dropout import Dropout
from .base import LabelledTask, Task

FIRST, MEAN = "cls", "mean"


class SequenceTask(Task):
    """A head on one vector a sequence; what it predicts stands at the sequence's first token."""

    pooling: str = ""
    """Which vector that is: `cls`, the first token's, or `mean`, that over the sequence; empty: the first token's, or
    what classifiers of the checkpoint read that the encoder starts from."""

    def reading(self, batch: Batch) -> Batch:
        """The batch of which the encoder also computes what a head on sequences reads."""
        return batch.reading(batch.indices if self.pooling == MEAN else batch.firsts)

    def at_firsts(self, batch: Batch, values: Tensor) -> Batch:
        """The batch with a prediction a sequence: `values` [S] or [S, ...], each at its sequence's first token."""
        return self.reading(batch).labelled(self.name, batch.firsts, values)

    def vectors(self, encoder: Encoder, batch: Batch, firsts: Tensor) -> Tensor:
        """[M, H] of the sequences that begin at `firsts` [M], which the batch reads as `reading` has it."""
        hidden = encoder(batch)
        if self.pooling == MEAN:
            return means(hidden, batch)[batch.sequences_of(firsts)]
        return hidden[batch.rows_at(firsts)]


class LabelledSequences(SequenceTask, LabelledTask):
    """A head on sequences of rows, as transformers' classifiers have it; `pooling` is a field of concrete tasks."""

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        return cls(pooling=pooling_of(config))  # type: ignore[call-arg]  # a field of every concrete task

    def begun_from(self, config: PretrainedConfig) -> Task:
        return self if self.pooling else replace(self, pooling=pooling_of(config))  # type: ignore[type-var]

    def sequence_head(self, encoder: Encoder, pooler: nn.Module, output: nn.Linear) -> nn.Module:
        """The pooler, dropout and `output`: [S, H] -> [S, C].

        Raises RecipeError where transformers' classifiers of the architecture do not read what this one does.
        """
        encoder.set_pooling(self.pooling or FIRST)
        return nn.Sequential(OrderedDict(pooler=pooler, dropout=Dropout(encoder.head_dropout), output=output))

    def classifier(self, encoder: Encoder, outputs: int) -> nn.Module:
        """A head of so many outputs: transformers' ...ForSequenceClassification."""
        output = called(nn.Linear(encoder.config.hidden_size, outputs), encoder.classifier_name)
        return self.sequence_head(encoder, encoder.pooler(), output)


def pooling_of(config: PretrainedConfig) -> str:
    """What a checkpoint's classifier of sequences reads."""
    return getattr(config, "classifier_pooling", FIRST)


def means(hidden: Tensor, batch: Batch) -> Tensor:
    """[R, H] at `batch.reads`, or [N, H] -> [S, H] in fp32 at least, over the tokens of each sequence that are read."""
    reads = batch.indices if batch.reads is None else batch.reads
    sequence = batch.sequences_of(reads)
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    sums = hidden.new_zeros(len(batch), hidden.shape[1]).index_add(0, sequence, hidden)
    number = hidden.new_zeros(len(batch)).index_add(0, sequence, hidden.new_ones(len(sequence)))
    # Of a sequence that makes up a number of tokens nothing may be read.
    return sums / number.clamp(min=1)[:, None]
