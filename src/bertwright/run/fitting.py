"""Whether a run fits into memory: how many tokens a forward pass may have, or a refusal that says what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch

from ..data.pack import pack
from ..data.plan import in_order
from ..encoders import counted
from ..encoders.base import Encoder
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..encoders.naming import FOLDER, reading
from ..encoders.sizes import SIZES, size_of
from ..errors import RecipeError
from ..named import find
from ..seeds import Draws
from ..tasks.model import Model
from ..train.footprint import Pass, footprint
from ..train.memory import free_memory
from ..train.precision import device, resolve
from .choose import with_defaults
from .sources import Source
from .spec import MICRO_TOKENS, SCRATCH, Recipe
from .start import counts, freeze

_EXAMPLES = 64
"""How many examples say what share of tokens is read and predicted."""


def fitted(recipe: Recipe, source: Source) -> Recipe:
    """The recipe with the tokens of a forward pass filled in: as many as a step has memory for.

    Nothing is allocated for that. A model that cannot be made is left for `begin` to refuse. Raises RecipeError where a
    step does not fit, with the most tokens or the largest size that does, and where counting its words does not.
    """
    free, wanted = free_memory(device()), recipe.train.micro_tokens
    needs = _needs(recipe, source)
    if needs is None:
        return replace(recipe, train=replace(recipe.train, micro_tokens=wanted or MICRO_TOKENS))
    largest = needs.largest(wanted or MICRO_TOKENS, free)
    if largest is None or (wanted is not None and largest < wanted):
        raise RecipeError(_refusal(recipe, source, needs, largest, free))
    if counts(recipe):
        _refuse_counting(needs, free_memory(torch.device("cpu")))
    return replace(recipe, train=replace(recipe.train, micro_tokens=largest))


class _Shares(NamedTuple):
    """The largest shares of tokens that are read and predicted, and the most sequences that have to meet in a pass."""

    read: float
    labelled: float
    sequences: int


@dataclass(frozen=True)
class _Needs:
    """What a step of a model takes, by the tokens of a forward pass."""

    model: Model
    recipe: Recipe
    shares: _Shares

    def __call__(self, micro_tokens: int) -> int:
        """Bytes"""
        train, length = self.recipe.train, self.recipe.data.length
        together = self.shares.sequences * length
        one = Pass(
            tokens=min(max(micro_tokens, together), (train.batch_size or 1) * together),
            length=length,
            read=self.shares.read,
            labelled=self.shares.labelled,
            precision=resolve(train.precision, device()),
            dropout=train.dropout or 0.0,
            device=device(),
        )
        return footprint(self.model, one, optimizer=train.optimizer, average=bool(train.average)).total

    def counting(self) -> int:
        """Bytes, before the first step, where words start from counts."""
        embeddings = self.model.encoder.word_embeddings.weight
        return 4 * sum(p.numel() for p in self.model.parameters()) + counted.memory(*embeddings.shape)

    def largest(self, most: int, free: int) -> int | None:
        """`most`, or the first of its halves that fits; None where a single sequence does not."""
        return next((tokens for tokens in self._halves(most) if self(tokens) <= free), None)

    def least(self, most: int) -> int:
        """What a single sequence takes."""
        return self([*self._halves(most)][-1])

    def _halves(self, most: int) -> Iterator[int]:
        yield most
        while most // 2 >= self.recipe.data.length:
            most //= 2
            yield most


def _needs(recipe: Recipe, source: Source) -> _Needs | None:
    """None for a shape that is none."""
    try:
        model = _shape(recipe, source)
        freeze(model.encoder, recipe.encoder.freeze)
    except RecipeError:
        return None
    filled = with_defaults(recipe, source.task, model.encoder.config.hidden_size)
    return _Needs(model, filled, _shares(recipe, source))


def _shape(recipe: Recipe, source: Source) -> Model:
    """The model, without memory for its weights."""
    start = recipe.encoder.like if recipe.encoder.start == SCRATCH else recipe.encoder.start
    if start:
        config = Checkpoint.open(checkpoint_folder(start)).config
        kind = reading(config.model_type)
        if kind is None or not issubclass(kind, Encoder):
            raise RecipeError(f"{start} is of an architecture that is not known")
    else:
        kind = find(FOLDER, recipe.encoder.arch, Encoder)
        config = kind.sized(size_of(recipe.encoder.size), source.tokenizer.vocabulary.size)
    with torch.device("meta"):
        return Model(kind(config), source.task)


def _shares(recipe: Recipe, source: Source) -> _Shares:
    """Of a few examples, at the beginning of the run or at its end."""
    items, draws = source.items(recipe.data.length), Draws(recipe.seed, "fitting")
    examples = list(source.task.gathered(islice(in_order(items, source.task.examples, recipe.seed), _EXAMPLES)))
    if not examples:
        return _Shares(0.0, 0.0, 1)
    whole = pack(examples, source.tokenizer.vocabulary)
    batches = [source.task.at(done).label(whole, examples, draws) for done in (0.0, 1.0)]
    reads = [batch.tokens if batch.reads is None else len(batch.reads) for batch in batches]
    labelled = max(sum(len(some.positions.unique()) for some in batch.labels.values()) for batch in batches)
    return _Shares(max(reads) / whole.tokens, labelled / whole.tokens, max(map(len, whole.examples)))


def _refusal(recipe: Recipe, source: Source, needs: _Needs, largest: int | None, free: int) -> str:
    asked = recipe.train.micro_tokens or MICRO_TOKENS
    if largest is not None:
        return f"{_short(needs(asked), free, f'with train.micro_tokens = {asked}')}; {largest} would fit"
    said = _short(needs.least(asked), free, "even one sequence at a time")
    if recipe.encoder.like or recipe.encoder.start != SCRATCH:
        return f"{said}; accepted are a smaller model, or shorter sequences (--length)"
    smaller = list(SIZES)[: list(SIZES).index(recipe.encoder.size)]
    for size in reversed(smaller):
        other = _needs(replace(recipe, encoder=replace(recipe.encoder, size=size)), source)
        if other is not None and other.largest(asked, free) is not None:
            return f"{said}; the largest size that would fit is {size}"
    return f"{said}; no size would fit"


def _refuse_counting(needs: _Needs, free: int) -> None:
    if (needed := needs.counting()) > free:
        words = needs.model.encoder.word_embeddings.num_embeddings
        raise RecipeError(
            f"counting what stands beside each of the vocabulary's {words:,} words takes about {_gigabytes(needed)} of "
            f"memory, and {_gigabytes(free)} are free; accepted are words that are drawn (--set encoder.words=drawn), "
            "or a smaller vocabulary"
        )


def _short(needed: int, free: int, how: str) -> str:
    where = "memory" if device().type == "cpu" else "the GPU's memory"
    return f"training this model takes about {_gigabytes(needed)} of {where} {how}, and {_gigabytes(free)} are free"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
