"""Masked language modelling: some tokens are hidden, and the model says which they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, inf

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..errors import RecipeError
from ..flow import Batch, Document, Example, Loss, Vocabulary
from ..seeds import Draws
from ..sums import occurrences, ratio
from .tokens import TokenTask
from .units import UNITS, choose_words, spans_of, words_of


@dataclass(frozen=True, kw_only=True)
class MaskedLM(TokenTask):
    """BERT's masked LM (Devlin et al., NAACL 2019).

    Of each sequence's ordinary tokens the share `rate` is predicted, at least one; of these the share `mask` is
    replaced by [MASK], the share `random` by any ordinary token, and the rest is left as it is. Special tokens are
    never chosen. With a `final_rate` the rate goes there from `rate` in a straight line over the run (Yang et al.,
    "Learning better masking for better language model pre-training", ACL 2023). `z_loss` keeps the logits from drifting
    (Chowdhery et al., "PaLM", 2022). What is held out is always hidden as BERT's was: 15 %, 80 %, 10 %, token by token.

    With the `unit` word all tokens of a word are chosen or none (the whole word masking of later BERTs; `text.words`
    says what a word is), with the unit span runs of 1 to 10 words, each of them replaced or left as one (Joshi et al.,
    "SpanBERT", TACL 2020). The share is `rate` on the average then; a sequence is off by less than its longest word.
    """

    pipeline = "fill-mask"
    changes_ids = True
    fills_from = 0

    rate: float = 0.15
    final_rate: float | None = None
    """The rate at the end of the run; by default it stays."""
    unit: str = "token"
    """`token`, `word` or `span`: what is hidden together."""
    mask: float = 0.8
    random: float = 0.1
    z_loss: float = 0.0
    """Weight of the squared log-sum-exp of the logits in what is minimised; it is not in the loss reported."""

    def __post_init__(self) -> None:
        for name, rate in {"rate": self.rate, "final_rate": self.final_rate}.items():
            if rate is not None and not 0 < rate < 1:
                raise RecipeError(f"mlm.{name} is a share between 0 and 1, not {rate}")
        if self.unit not in UNITS:
            raise RecipeError(f"mlm.unit is {', '.join(UNITS[:-1])} or {UNITS[-1]}, not {self.unit!r}")
        if not 0 <= self.z_loss < inf:
            raise RecipeError(f"mlm.z_loss is a weight of at least 0, not {self.z_loss}")
        if self.mask < 0 or self.random < 0 or self.mask + self.random > 1:
            raise RecipeError(
                f"mlm.mask and mlm.random are shares of at most 1 together, not {self.mask} and {self.random}"
            )

    def at(self, done: float) -> MaskedLM:
        if self.final_rate is None:
            return self
        return replace(self, rate=self.rate + (self.final_rate - self.rate) * done, final_rate=None)

    def judging(self) -> MaskedLM:
        return replace(self, rate=0.15, final_rate=None, unit="token", mask=0.8, random=0.1)

    def examples(self, item: Document, rng: np.random.Generator) -> Iterator[Example]:
        """The document from end to end in pieces that fill the length; the first ends anywhere: borders move."""
        if not len(item.sentences):
            return
        ids = np.concatenate(item.sentences)
        room = item.length - 2
        first = int(rng.integers(1, room + 1)) if len(ids) > room else room
        for start, end in _borders(len(ids), first, room):
            yield item.vocabulary.single(ids[start:end])

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        ids, vocabulary = batch.ids.numpy(), batch.vocabulary
        order = rng.of_tokens("choose", examples)
        if self.unit == "token":
            chosen = leads = choose(ids, batch.lengths, self.rate, order, vocabulary)
        else:
            chosen, leads = self._whole_words(batch, examples, order, rng)
        fate = rng.of_tokens("fate", examples)[leads]
        stranger = rng.of_tokens("stranger", examples)[chosen]
        # Of special tokens alone there is no other token to be shown.
        ordinary = ordinary_ids(vocabulary)
        others = ordinary[(stranger * len(ordinary)).astype(np.int64)] if len(ordinary) else ids[chosen]
        shown = np.where(fate < self.mask + self.random, others, ids[chosen])
        shown = np.where(fate < self.mask, vocabulary.mask, shown)
        targets = torch.from_numpy(ids[chosen])
        hidden = batch.ids.clone()
        hidden[chosen] = torch.from_numpy(shown)
        return batch.with_ids(hidden).labelled(self.name, torch.from_numpy(chosen), targets)

    def _whole_words(
        self, batch: Batch, examples: list[Example], order: np.ndarray, rng: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """[M] the tokens to predict, ascending, and for each of them the token whose fate it shares."""
        lengths = np.array(batch.lengths)
        words = words_of(batch.ids.numpy(), lengths, batch.vocabulary)
        tokens = np.bincount(words.sequence, words.sizes * words.free, len(lengths))
        rounding = rng.of_sequences("rounding", examples)
        firsts = np.arange(len(words.starts))
        if self.unit == "span":
            firsts = spans_of(words, rng.of_tokens("span", examples)[words.starts])
        order = order[words.starts][firsts]
        taken = np.repeat(choose_words(words, number_of(self.rate, tokens), order, rounding), words.sizes)
        chosen = np.flatnonzero(taken)
        leads = np.repeat(words.starts[firsts], words.sizes)[chosen] if self.unit == "span" else chosen
        return chosen, leads

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        targets = batch.labels[self.name].values
        predicted = encoder.token_loss(head, encoder(batch)[batch.rows(self.name)], targets, self.z_loss)
        seen = occurrences(targets, batch.vocabulary.size)
        measures = {"mlm.loss": predicted.nats, "mlm.correct": predicted.correct, "mlm.targets": seen}
        return Loss({self.name: predicted.total}, measures)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a token, perplexity, accuracy, and the accuracy of always saying the commonest target."""
        targets = sums["mlm.targets"]
        loss = ratio(sums["mlm.loss"], targets.sum())
        return {
            "mlm.loss": loss,
            "mlm.perplexity": exp(min(loss, 700.0)),
            "mlm.accuracy": ratio(sums["mlm.correct"], targets.sum()),
            "mlm.commonest": ratio(targets.max(), targets.sum()),
        }


def choose(
    ids: np.ndarray, lengths: tuple[int, ...], rate: float, draws: np.ndarray, vocabulary: Vocabulary
) -> np.ndarray:
    """[M] the tokens to predict, ascending: in each sequence the ordinary ones with the smallest `draws` [N]."""
    free = ~np.isin(ids, vocabulary.special)
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    wanted = number_of(rate, np.bincount(sequence[free], minlength=len(lengths)))
    order = np.lexsort((np.where(free, draws, 2.0), sequence))
    rank = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.sort(order[rank < wanted[sequence]])


def number_of(rate: float, tokens: np.ndarray) -> np.ndarray:
    """[S] how many of so many ordinary tokens are predicted: that share of them, at least one where there are any."""
    return np.maximum(np.rint(rate * tokens), tokens > 0)


@lru_cache(maxsize=8)
def ordinary_ids(vocabulary: Vocabulary) -> np.ndarray:
    """Every id that is not a special token."""
    return np.setdiff1d(np.arange(vocabulary.size), vocabulary.special)


def _borders(tokens: int, first: int, room: int) -> Iterator[tuple[int, int]]:
    start, end = 0, min(first, tokens)
    while start < tokens:
        yield start, end
        start, end = end, min(end + room, tokens)
