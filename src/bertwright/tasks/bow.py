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
from .mlm import MaskedLM
from .tokens import TokenTask


@dataclass(frozen=True, kw_only=True)
class BagOfWords(TokenTask):
    """Bag-of-words prediction (Ma et al., "Drop your decoder: pre-training with bag-of-word prediction for dense
    passage retrieval", SIGIR 2024).

    Masked LM never asks for the vector of [CLS], so that what attention gathers there is left to chance, and it is
    what a classifier reads. Here a masked LM's head on that vector gives a distribution over the vocabulary, and what
    is minimised is the cross-entropy of the sequence's ordinary tokens, each counted once and all weighing the same.
    With masked LM the head is one for both, and the hidden tokens are asked for too: `mlm+bow`.
    """

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        """A config does not say what else a masked LM's head was asked for."""
        return False

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """As masked LM's."""
        return MaskedLM().examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Of the ids that the examples came with, whatever another task hides of them."""
        ids, size = np.concatenate([one.ids for one in examples]), batch.vocabulary.size
        ordinary = ~np.isin(ids, batch.vocabulary.special)
        sequence = np.repeat(np.arange(len(batch)), batch.lengths)
        # All bags as one sorted set: of each sequence for itself it takes three times as long.
        which, tokens = np.divmod(np.unique(sequence[ordinary] * size + ids[ordinary]), size)
        return batch.labelled(self.name, batch.firsts[torch.from_numpy(which)], torch.from_numpy(tokens))

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Of one distribution a sequence, however many tokens are asked of it."""
        firsts, tokens = batch.labels[self.name]
        sequence = batch.sequences_of(firsts)
        # A sequence that nothing is asked of need not be read: any row stands in for it.
        rows = firsts.new_zeros(len(batch)).scatter(0, sequence, batch.rows(self.name))
        logits = encoder.logits(head, encoder(batch)[rows])
        total = -logits.float().log_softmax(-1)[sequence, tokens].sum()
        return Loss({self.name: total}, {"bow.loss": total.detach(), "bow.tokens": firsts.new_full((), len(firsts))})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The loss in nats a token."""
        return {"bow.loss": ratio(sums["bow.loss"], sums["bow.tokens"])}
