"""Adaptive masked LM: tokens that are still hard to predict are hidden more often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..errors import RecipeError
from ..flow import Batch, Document, Example, Labels, Loss
from ..seeds import Draws
from ..sums import occurrences, ratio
from .base import Task
from .mlm import MaskedLM, choose, ordinary_ids

_LEAST = 1 / 30
"""No type of token weighs less than this, as in the published code (0.005 at a rate of 0.15)."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveMaskedLM(Task):
    """Masked LM whose masks follow how well each type of token is predicted (Edman and Fraser, "Mask and you shall
    receive", BabyLM 2025), by the accuracy that the paper calls its hard score.

    Every type starts with the weight 1. After each `every` steps it becomes `memory` of itself and, for the rest,
    1 - (right + 0.5) / (predicted + 1), counted over these steps. Of a sequence's ordinary tokens the share `rate` is
    predicted, drawn without replacement in proportion to the weights of their types. The paper draws each token for
    itself, so that the number varies about that share; here it is exact, and known before the forward pass. What is
    chosen is shown as in masked LM, `mask` of it as [MASK] and `random` as another token, and with a `final_rate` the
    rate goes there in a straight line. What is held out is hidden as in BERT, whatever was learned.

    The weights are in the head's state, and what is drawn for a token is the example's own, so that a step does not
    depend on how it is split, nor a run on whether it was broken off. On an accelerator a forward pass waits for one
    number: how many tokens are read.
    """

    reads = Document
    hf_class = "MaskedLM"
    changes_ids = True

    rate: float = 0.15
    final_rate: float | None = None
    mask: float = 0.8
    random: float = 0.1
    every: int = 200
    memory: float = 0.2
    """With 1 all types go on weighing the same: that is masked LM."""

    @classmethod
    def made(cls, config: PretrainedConfig) -> bool:
        """A config does not say how a masked LM was hidden from; it is taken for the plain one."""
        return False

    def __post_init__(self) -> None:
        for name, rate in {"rate": self.rate, "final_rate": self.final_rate}.items():
            if rate is not None and not 0 < rate < 1:
                raise RecipeError(f"amlm.{name} is a share between 0 and 1, not {rate}")
        if self.mask < 0 or self.random < 0 or self.mask + self.random > 1:
            raise RecipeError(
                f"amlm.mask and amlm.random are shares of at most 1 together, not {self.mask} and {self.random}"
            )
        if self.every < 1:
            raise RecipeError(f"amlm.every is a number of steps, at least 1, not {self.every}")
        if not 0 <= self.memory <= 1:
            raise RecipeError(f"amlm.memory is a share from 0 to 1, not {self.memory}")

    def at(self, done: float) -> AdaptiveMaskedLM:
        if self.final_rate is None:
            return self
        return replace(self, rate=self.rate + (self.final_rate - self.rate) * done, final_rate=None)

    def judging(self) -> AdaptiveMaskedLM:
        return replace(self, rate=0.15, final_rate=None, mask=0.8, random=0.1, memory=1.0)

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """As masked LM's."""
        return MaskedLM().examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Masks as they are while all types weigh the same, and what it takes to choose others."""
        vocabulary, ids = batch.vocabulary, batch.ids.numpy()
        race, fate, stranger = (rng.of_tokens(word, examples) for word in ("choose", "fate", "stranger"))
        places = torch.from_numpy(choose(ids, batch.lengths, self.rate, race, vocabulary))
        ordinary = ordinary_ids(vocabulary)
        shown = np.where(fate < self.mask + self.random, ordinary[(stranger * len(ordinary)).astype(np.int64)], ids)
        shown = torch.from_numpy(np.where(fate < self.mask, vocabulary.mask, shown))
        hidden = batch.with_ids(batch.ids.index_copy(0, places, shown[places]))
        hidden = hidden.labelled(self.name, places, batch.ids[places])
        if self.memory == 1:
            return hidden
        # A special token never wins: its time in the race is infinite.
        late = torch.from_numpy(np.where(np.isin(ids, vocabulary.special), 1.0, race))
        return hidden.with_draws(race=late, shown=shown)

    def decided(self, head: nn.Module, batch: Batch) -> Batch:
        """As many masks in each sequence, where the weights of its types put them.

        They go to the least of exponential times with these weights for rates, which is to draw without replacement
        (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", Inf. Process. Lett. 2006).
        """
        if "race" not in batch.draws:
            return batch
        places, values = batch.labels[self.name]
        ids = batch.ids.index_copy(0, places, values)
        times = -torch.log1p(-batch.draws["race"]) / head.get_buffer("weights")[ids]
        chosen = _first(times, batch, places)
        hidden = replace(batch.with_ids(ids.index_copy(0, chosen, batch.draws["shown"][chosen])), labels={}, reads=None)
        for name, labels in {**batch.labels, self.name: Labels(chosen, ids[chosen])}.items():
            hidden = hidden.labelled(name, *labels)
        return hidden

    def head(self, encoder: Encoder) -> nn.Module:
        return _Head(encoder)

    def learned(self, head: nn.Module, sums: Mapping[str, Tensor]) -> None:
        weights, right, predicted, steps = (head.get_buffer(name) for name in _STATE)
        right += sums["amlm.right"]
        predicted += sums["amlm.targets"]
        steps += 1
        # Without a question to the host, which would wait for an accelerator.
        due = steps % self.every == 0
        mastered = (right + 0.5) / (predicted + 1.0)
        fresh = (self.memory * weights + (1.0 - self.memory) * (1.0 - mastered)).clamp(min=_LEAST)
        weights.copy_(torch.where(due, fresh, weights))
        for counted in (right, predicted):
            counted.mul_(~due)

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, batch.indices, torch.zeros_like(batch.ids))

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, V] scores of every token at every position that is predicted."""
        return {self.name: encoder.logits(head.get_submodule("predictor"), encoder(batch)[batch.rows(self.name)])}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        targets, types = batch.labels[self.name].values, len(head.get_buffer("weights"))
        predicted = encoder.token_loss(head.get_submodule("predictor"), encoder(batch)[batch.rows(self.name)], targets)
        measures = {
            "amlm.loss": predicted.nats,
            "amlm.right": occurrences(targets, types, predicted.right),
            "amlm.targets": occurrences(targets, types),
        }
        return Loss({self.name: predicted.total}, measures)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a token, perplexity, accuracy, and the accuracy of always saying the commonest target.

        While it learns these are of the tokens that it chose, the harder ones.
        """
        targets = sums["amlm.targets"]
        loss = ratio(sums["amlm.loss"], targets.sum())
        return {
            "amlm.loss": loss,
            "amlm.perplexity": exp(min(loss, 700.0)),
            "amlm.accuracy": ratio(sums["amlm.right"].sum(), targets.sum()),
            "amlm.commonest": ratio(targets.max(), targets.sum()),
        }


_STATE = ("weights", "right", "predicted", "steps")


class _Head(nn.Module):
    """Masked LM's, with what is known of each type of token."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        types = encoder.config.vocab_size
        self.predictor = encoder.predictor()
        self.register_buffer("weights", torch.ones(types, dtype=torch.float64))
        self.register_buffer("right", torch.zeros(types, dtype=torch.float64))
        self.register_buffer("predicted", torch.zeros(types, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


def _first(times: Tensor, batch: Batch, places: Tensor) -> Tensor:
    """[M] the tokens with the least `times` [N], in each sequence as many as `places` [M] has there; ascending."""
    sequence = batch.sequences_of(batch.indices)
    order = times.argsort(stable=True)
    order = order[sequence[order].argsort(stable=True)]
    theirs = sequence[places]
    before = torch.searchsorted(places, batch.cu_seqlens)
    within = torch.arange(len(places), device=places.device) - before[theirs]
    return order[batch.cu_seqlens[theirs] + within].sort().values
