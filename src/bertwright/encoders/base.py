"""What an encoder is, where its weights come from, and the parts that it makes for heads."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Self, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PretrainedConfig

from .. import named
from ..errors import CheckpointError, InputError, RecipeError
from ..flow import Batch, Vocabulary
from ..nn.cross_entropy import TokenLoss
from ..nn.dropout import Dropout
from ..nn.heads import Predictor
from ..nn.rounding import in_even_rows, in_even_tokens
from . import laws
from .exchange import Checkpoint, one_line
from .folders import checkpoint_folder
from .naming import FOLDER, Architecture, architectures, called, hf_names
from .sizes import Size, size_of

__all__ = ["Encoder", "called", "hf_names"]

E = TypeVar("E", bound="Encoder")


class Encoder(nn.Module, Architecture):
    """Token ids to vectors. A concrete encoder is one architecture, and knows transformers' names of its parameters.

    Constructing one checks the config and leaves the weights unset; `from_config` draws them and
    `from_pretrained` loads them. Called with a batch of N tokens it returns [R, H], the vectors at `batch.reads` in
    their order, or [N, H] when `reads` is None.
    """

    inputs: ClassVar[tuple[str, ...]]
    """What transformers' models of it take, as a tokenizer's `model_input_names` say."""
    token_fields: ClassVar[Mapping[str, str]]
    """Which fields of the config hold ids of special tokens, and of which: `pad_token_id` of `pad`."""

    config: PretrainedConfig
    loaded_from: str = ""
    """The checkpoint that `from_pretrained` was asked for; empty: the weights were drawn."""
    layers: nn.ModuleList
    """Public, so that compiling and sharding can wrap each."""

    @classmethod
    @abstractmethod
    def sized(cls, size: Size, vocab_size: int) -> PretrainedConfig:
        """The architecture's config for a size, with the special tokens of this package's own tokenizers."""

    @property
    @abstractmethod
    def word_embeddings(self) -> nn.Embedding: ...

    @property
    def beside_words(self) -> tuple[nn.Embedding, ...]:
        """The tables whose vectors are added to those of words; none unless an architecture has some."""
        return ()

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """[R, H] at `batch.reads` as they come, or [N, H], of a batch whose sequences fit."""

    classifier_name: ClassVar[str] = "classifier"
    """What transformers calls the last layer of a classifier of sequences, which stands on a `pooler`."""

    poolings: ClassVar[tuple[str, ...]] = ("cls",)
    """What transformers' classifiers of sequences can read: the first token, or the mean over the sequence."""

    @abstractmethod
    def pooler(self) -> nn.Module:
        """A fresh part for heads: what they read of sequences [S, H] -> [S, H]."""

    def choice_pooler(self) -> nn.Module:
        """A fresh part as `pooler`, for heads that weigh sequences against each other; by default it is that."""
        return self.pooler()

    def token_pooler(self) -> nn.Module:
        """A fresh part for heads on tokens [M, H] -> [M, H], where transformers has one; by default nothing changes."""
        return nn.Identity()

    @abstractmethod
    def pair_pooler(self) -> nn.Module:
        """A fresh part as `pooler`, for objectives on pairs, which are pretrained beside a `predictor`."""

    @abstractmethod
    def predictor(self) -> Predictor:
        """A fresh part for heads that predict tokens; called through `logits` and `token_loss`."""

    @property
    @abstractmethod
    def head_dropout(self) -> float:
        """The share of a classifier's input that the config says to drop."""

    @abstractmethod
    def spread(self, name: str) -> laws.Spread:
        """How widely the tensor that transformers calls `name` is drawn, of the encoder or of a head."""

    def part(self, name: str) -> laws.Part | None:
        """What the tensor that transformers calls `name` does in finding positions, where these are learned."""
        return None

    def set_dropout(self, p: float) -> None:
        """Drops with probability `p` from now on, wherever it drops at all. Raises RecipeError outside [0, 1)."""
        if not 0 <= p < 1:
            raise RecipeError(f"dropout {p}: it is a probability, at least 0 and below 1")
        for module in self.modules():
            if isinstance(module, Dropout):
                module.p = p

    def set_pooling(self, pooling: str) -> None:
        """Says what classifiers of sequences read: `cls`, the first token, or `mean`, where transformers' can read it.

        Raises RecipeError for what they cannot.
        """
        if pooling not in self.poolings:
            accepted = " or ".join(map(repr, self.poolings))
            kind = self.config.model_type
            raise RecipeError(f"pooling {pooling!r}: transformers' classifiers of {kind!r} read {accepted}")

    def forward(self, batch: Batch) -> Tensor:
        """[R, H] at `batch.reads`, or [N, H], in the weights' type, also under autocast.

        Raises InputError for a sequence longer than the config's positions.
        """
        self._refuse_longer(batch)
        return in_even_tokens(self.encode, batch).to(self.word_embeddings.weight.dtype)

    def logits(self, predictor: nn.Module, hidden: Tensor) -> Tensor:
        """[M, H] -> [M, V], by a `predictor` and the word embeddings, which stay the encoder's own."""
        return in_even_rows(lambda rows: predictor(rows, self.word_embeddings.weight), hidden)

    def token_loss(self, predictor: nn.Module, hidden: Tensor, targets: Tensor, z_loss: float = 0.0) -> TokenLoss:
        """The summed cross-entropy of `logits` at `targets` [M], on a CPU in half the time.

        `z_loss` is the weight of the squared log-sum-exp that is added (see `nn.cross_entropy`).
        """
        assert isinstance(predictor, Predictor)
        return predictor.loss(hidden, self.word_embeddings.weight, targets, z_loss)

    def draw(self, seed: int, law: str | laws.Law) -> None:
        """Draws all weights in place (see `laws.draw`)."""
        pad = self.config.pad_token_id
        blank = {} if pad is None else {self.words_name: pad}
        laws.draw(self, seed, law, spread=self.spread, blank=blank, part=self.part)

    def draw_head(self, head: nn.Module, seed: int, law: str | laws.Law) -> None:
        """Draws the weights of a head for this encoder in place."""
        laws.draw(head, seed, law, spread=self.spread)

    def _refuse_longer(self, batch: Batch) -> None:
        if max(batch.lengths) > self.config.max_position_embeddings:
            raise InputError(
                f"a sequence of {max(batch.lengths)} tokens; this encoder has {self.config.max_position_embeddings} "
                "positions (max_position_embeddings), so cut sequences to that length"
            )

    @classmethod
    def from_config(
        cls,
        config: PretrainedConfig | str,
        *,
        vocab_size: int | None = None,
        tokens: Vocabulary | None = None,
        seed: int = 0,
        init: str = "paper",
        arch: str = "bert",
        **overrides: Any,
    ) -> Self:
        """An encoder with weights drawn by the law `init`.

        `config` is transformers' own, or the name of a size ("tiny" ... "large") of the architecture `arch`, which
        needs `vocab_size`. `tokens` are the special ones whose ids the config is to name. `overrides` are further
        fields of the config. Raises RecipeError for a size, field or value that is unknown or does not go with the
        others.
        """
        if isinstance(config, str):
            size, kind = size_of(config), cls._concrete(arch)
            if vocab_size is None:
                raise RecipeError(f"size {config!r} needs the size of the vocabulary: vocab_size=...")
            config = kind.sized(size, vocab_size)
        else:
            kind = cls._reading(config.model_type)
        changes: dict[str, Any] = {} if vocab_size is None else {"vocab_size": vocab_size}
        if tokens is not None:
            changes |= {field: getattr(tokens, role) for field, role in kind.token_fields.items()}
        encoder = _unset(kind, changed(config, changes | overrides))
        encoder.draw(seed, init)
        return encoder

    @classmethod
    def blank(cls, config: PretrainedConfig) -> Self:
        """An encoder whose weights are memory not yet written, to be drawn or loaded into.

        Raises RecipeError for a config that it cannot be built from, or that is of another architecture.
        """
        return _unset(cls._reading(config.model_type), config)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Self:
        """An encoder with the weights of a checkpoint of whatever head: a folder, a run, or a name of the Hub.

        Raises CheckpointError when the folder is not such a checkpoint, is of an architecture that none of ours reads,
        or lacks a tensor of the encoder.
        """
        checkpoint = Checkpoint.open(checkpoint_folder(os.fspath(path)))
        try:
            kind = cls._reading(checkpoint.config.model_type)
            encoder = _unset(kind, checkpoint.config)
        except RecipeError as error:
            raise CheckpointError(f"{checkpoint.path}: {error}") from error
        checkpoint.load_into(encoder, hf_names(encoder), optional=(), kind=kind)
        encoder.loaded_from = os.fspath(path)
        return encoder

    @classmethod
    def _concrete(cls, arch: str) -> type[Self]:
        kind = named.find(FOLDER, arch, Encoder)
        if not issubclass(kind, cls):
            raise RecipeError(f"architecture {arch!r} is {kind.__name__}, and {cls.__name__} was asked for")
        return kind

    @classmethod
    def _reading(cls, model_type: str) -> type[Self]:
        known = [kind for kind in architectures() if issubclass(kind, cls)] or [cls]
        for kind in known:
            if model_type in kind.model_types:
                return kind
        accepted = ", ".join(name for kind in known for name in kind.model_types)
        raise RecipeError(f"model_type {model_type!r} is not one that {cls.__name__} reads; accepted: {accepted}")


def _unset(kind: type[E], config: PretrainedConfig) -> E:
    """An encoder whose weights are memory not yet written: no time goes into a draw that would be thrown away."""
    with torch.device("meta"):
        encoder = kind(config)
    # Not by `to_empty`: it asks for memory like that which there is not, which brings in sympy, in 0.3 s.
    return encoder._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"))


def changed(config: PretrainedConfig, changes: Mapping[str, Any]) -> PretrainedConfig:
    """A copy with other values. Raises RecipeError for a field or a value that is unknown."""
    config = deepcopy(config)
    for name, value in changes.items():
        if not hasattr(config, name):
            raise RecipeError(f"{name!r} is not a field of transformers' {type(config).__name__}")
        try:
            setattr(config, name, value)
        except (StrictDataclassError, TypeError, ValueError) as error:
            raise RecipeError(f"{name}={value!r}: {one_line(error)}") from error
    return config


def as_tied(config: PretrainedConfig) -> PretrainedConfig:
    """A copy that says what is so here, whatever it said: vocabulary heads multiply by the word embeddings."""
    return changed(config, {"tie_word_embeddings": True})
