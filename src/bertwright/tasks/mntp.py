"""Masked next-token prediction beside causal language modelling, by one encoder: GPT-BERT's objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import RecipeError
from ..flow import Batch, Document, Example, Loss
from ..seeds import Draws
from ..sums import occurrences, ratio
from .base import Task
from .mlm import MaskedLM


@dataclass(frozen=True, kw_only=True)
class MaskedNextToken(Task):
    """Every token is said by the vector of the token before it (Charpentier and Samuel, "GPT or BERT: why not both?",
    BabyLM 2024; masked next-token prediction is from BehnamGhader et al., "LLM2Vec", COLM 2024).

    Of the sequences the share `causal`, drawn for each, is read from left to right, nothing is hidden, and each
    ordinary token is predicted. In the others tokens are hidden as in masked LM. Each of both means weighs as much as
    its share of the sequences, as in the published code, where a processor has sequences of one kind. What is held out
    is judged twice, all of it in either way, and hidden as BERT's is.

    transformers has no class whose head reads one token earlier, so the checkpoint is that of a bare encoder, and the
    head's tensors have names of their own.
    """

    reads = Document
    hf_class = ""
    changes_ids = True
    fills_from = -1

    causal: float = 0.125
    rate: float = 0.15
    final_rate: float | None = None
    mask: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.causal <= 1:
            raise RecipeError(f"mntp.causal is a share from 0 to 1, not {self.causal}")
        try:
            self._hiding()
        except RecipeError as error:
            raise RecipeError(str(error).replace("mlm.", "mntp.")) from None

    def _hiding(self) -> MaskedLM:
        return MaskedLM(rate=self.rate, final_rate=self.final_rate, mask=self.mask, random=self.random)

    def at(self, done: float) -> MaskedNextToken:
        return replace(self, rate=self._hiding().at(done).rate, final_rate=None)

    def judging(self) -> MaskedNextToken:
        return replace(self, rate=0.15, final_rate=None, mask=0.8, random=0.1)

    def passes(self) -> tuple[Task, ...]:
        return replace(self, causal=0.0), replace(self, causal=1.0)

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """As masked LM's."""
        return MaskedLM().examples(item, rng)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        drawn = rng.of_sequences("causal", examples) < self.causal
        causal = torch.from_numpy(np.repeat(drawn, batch.lengths))
        hidden = self._hiding().label(batch, examples, rng)
        masked, tokens = hidden.labels["mlm"]
        said = ~causal[masked]
        special = torch.from_numpy(np.isin(batch.ids.numpy(), batch.vocabulary.special))
        following = (causal & ~special).nonzero().flatten()
        mixed = replace(
            batch, ids=torch.where(causal, batch.ids, hidden.ids), causal=causal if bool(causal.any()) else None
        )
        mixed = mixed.labelled("mntp.masked", masked[said] - 1, tokens[said])
        return mixed.labelled("mntp.next", following - 1, batch.ids[following])

    def head(self, encoder: Encoder) -> nn.Module:
        predictor = encoder.predictor()
        for part in predictor.modules():
            if name := vars(part).get("hf_name"):
                called(part, f"mntp.{name}")
        return predictor

    def asks(self, batch: Batch) -> Batch:
        for name in ("mntp.masked", "mntp.next"):
            batch = batch.labelled(name, batch.indices, torch.zeros_like(batch.ids))
        return batch

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, V] scores of every token, of what follows each position."""
        hidden = encoder(batch)
        return {name: encoder.logits(head, hidden[batch.rows(name)]) for name in self.labels_of(batch)}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        hidden = encoder(batch)
        totals: dict[str, Tensor] = {}
        measures: dict[str, Tensor] = {}
        for name, share in {"mntp.masked": 1 - self.causal, "mntp.next": self.causal}.items():
            targets = batch.labels[name].values
            predicted = encoder.token_loss(head, hidden[batch.rows(name)], targets)
            totals[name] = share * predicted.total
            measures |= {f"{name}.loss": predicted.nats, f"{name}.correct": predicted.correct}
            measures[f"{name}.targets"] = occurrences(targets, batch.vocabulary.size)
        return Loss(totals, measures)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Of hidden tokens, and of those that follow what is read: loss in nats, accuracy, that of always saying the
        commonest."""
        report: dict[str, float] = {}
        for name, start in {"mntp.masked": "mntp.", "mntp.next": "mntp.next_"}.items():
            targets = sums[f"{name}.targets"]
            loss = ratio(sums[f"{name}.loss"], targets.sum())
            report |= {
                f"{start}loss": loss,
                f"{start}perplexity": exp(min(loss, 700.0)),
                f"{start}accuracy": ratio(sums[f"{name}.correct"], targets.sum()),
                f"{start}commonest": ratio(targets.max(), targets.sum()),
            }
        return report
