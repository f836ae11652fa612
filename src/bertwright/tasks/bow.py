"""Bag of words: the first token's vector says which tokens its sequence has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..flow import Batch, Document, Example, Loss
from ..seeds import Draws
from ..sums import ratio
from .base import Task
from .mlm import MaskedLM


@dataclass(frozen=True, kw_only=True)
class BagOfWords(Task):
    """Bag-of-words prediction (Ma et al., "Drop your decoder: pre-training with bag-of-word prediction for dense
    passage retrieval", SIGIR 2024).

    Masked LM never asks for the vector of [CLS], so that what attention gathers there is left to chance, and it is
    what a classifier reads. Here a masked LM's head on that vector gives a distribution over the vocabulary, and what
    is minimised is the cross-entropy of the sequence's ordinary tokens, each counted once and all weighing the same.
    With masked LM the head is one for both, and the hidden tokens are asked for too: `mlm+bow`.
    """

    reads = Document
    hf_class = "MaskedLM"
    joins_any = True

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        """A config does not say what else a masked LM's head was asked for."""
        return False

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """As masked LM's."""
        return MaskedLM().examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Of the ids that the examples came with, whatever another task hides of them."""
        sequences = [ids for one in examples for ids in np.split(one.ids, np.cumsum(one.lengths)[:-1])]
        bags = [np.setdiff1d(ids, batch.vocabulary.special) for ids in sequences]
        firsts = batch.firsts.repeat_interleave(torch.tensor([*map(len, bags)]))
        return batch.labelled(self.name, firsts, torch.from_numpy(np.concatenate(bags)))

    def head(self, encoder: Encoder) -> nn.Module:
        return encoder.predictor()

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, torch.arange(batch.tokens), torch.zeros_like(batch.ids))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, V]"""
        return {self.name: encoder.logits(head, encoder(batch)[batch.rows(self.name)])}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Each sequence's distribution once, however many tokens are asked of it."""
        firsts, tokens = batch.labels[self.name]
        sequence = torch.searchsorted(batch.cu_seqlens, firsts, right=True) - 1
        rows = firsts.new_zeros(len(batch)).scatter(0, sequence, batch.rows(self.name))
        logits = encoder.logits(head, encoder(batch)[rows])
        total = -logits.float().log_softmax(-1)[sequence, tokens].sum()
        return Loss({self.name: total}, {"bow.loss": total.detach(), "bow.tokens": firsts.new_tensor(len(firsts))})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The loss in nats a token."""
        return {"bow.loss": ratio(sums["bow.loss"], sums["bow.tokens"])}
