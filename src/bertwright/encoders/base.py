"""What an encoder is, where its weights come from, and the parts that it makes for heads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, ClassVar, Self, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PretrainedConfig

from .. import named
from ..errors import CheckpointError, RecipeError
from ..flow import Batch
from . import laws
from .exchange import Checkpoint, one_line
from .folders import checkpoint_folder
from .naming import called, hf_names
from .sizes import Size, size_of

__all__ = ["Encoder", "called", "hf_names"]

_FOLDER = "bertwright.encoders"


E = TypeVar("E", bound="Encoder")


class Encoder(nn.Module, ABC):
    """Token ids to vectors. A concrete encoder is one architecture, and knows transformers' names of its parameters.

    Constructing one checks the config and leaves the weights to torch's defaults; `from_config` draws them and
    `from_pretrained` loads them. Called with a batch of N tokens it returns [R, H], the vectors at `batch.reads` in
    their order, or [N, H] when `reads` is None.
    """

    base_prefix: ClassVar[str]
    """What transformers puts before the encoder's parameters in a model with a head, without the dot."""
    model_types: ClassVar[tuple[str, ...]]
    """The `model_type`s of transformers' configs that this architecture reads."""

    config: PretrainedConfig
    layers: nn.ModuleList
    """Public, so that compiling and sharding can wrap each."""

    @classmethod
    @abstractmethod
    def sized(cls, size: Size, vocab_size: int) -> PretrainedConfig:
        """The architecture's config for a size."""

    @property
    @abstractmethod
    def word_embeddings(self) -> nn.Embedding: ...

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor: ...

    @abstractmethod
    def pooler(self) -> nn.Module:
        """A fresh part for heads: the first tokens' vectors [S, H] -> [S, H]."""

    @abstractmethod
    def predictor(self) -> nn.Module:
        """A fresh part for heads that predict tokens; called through `logits`."""

    @abstractmethod
    def set_dropout(self, p: float) -> None:
        """Drops with probability `p` from now on, wherever it drops at all. Raises RecipeError outside [0, 1)."""

    def logits(self, predictor: nn.Module, hidden: Tensor) -> Tensor:
        """[M, H] -> [M, V], by a `predictor` and the word embeddings, which stay the encoder's own."""
        return predictor(hidden, self.word_embeddings.weight)

    def draw(self, seed: int, law: str) -> None:
        """Draws all weights in place (see `laws.draw`)."""
        laws.draw(self, seed, law, spread=self.config.initializer_range, pad=self.config.pad_token_id)

    @classmethod
    def from_config(
        cls,
        config: PretrainedConfig | str,
        *,
        vocab_size: int | None = None,
        seed: int = 0,
        init: str = "paper",
        arch: str = "bert",
        **overrides: Any,
    ) -> Self:
        """An encoder with weights drawn by the law `init`.

        `config` is transformers' own, or the name of a size ("tiny" ... "large") of the architecture `arch`, which
        needs `vocab_size`. `overrides` are further fields of the config. Raises RecipeError for a size, field or value
        that is unknown or does not go with the others.
        """
        if isinstance(config, str):
            size, kind = size_of(config), cls._concrete(arch)
            if vocab_size is None:
                raise RecipeError(f"size {config!r} needs the size of the vocabulary: vocab_size=...")
            config = kind.sized(size, vocab_size)
        else:
            kind = cls._reading(config.model_type)
        changes = overrides if vocab_size is None else {"vocab_size": vocab_size, **overrides}
        encoder = _unset(kind, _changed(config, changes))
        encoder.draw(seed, init)
        return encoder

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
        checkpoint.load_into(encoder, hf_names(encoder), optional=(), base=kind.base_prefix)
        return encoder

    @classmethod
    def _concrete(cls, arch: str) -> type[Self]:
        kind = named.find(_FOLDER, arch, Encoder)
        if not issubclass(kind, cls):
            raise RecipeError(f"architecture {arch!r} is {kind.__name__}, and {cls.__name__} was asked for")
        return kind

    @classmethod
    def _reading(cls, model_type: str) -> type[Self]:
        known = [kind for kind in _architectures() if issubclass(kind, cls)] or [cls]
        for kind in known:
            if model_type in kind.model_types:
                return kind
        accepted = ", ".join(name for kind in known for name in kind.model_types)
        raise RecipeError(f"model_type {model_type!r} is not one that {cls.__name__} reads; accepted: {accepted}")


def _architectures() -> Iterator[type[Encoder]]:
    for name in named.names(_FOLDER):
        yield named.find(_FOLDER, name, Encoder)


def _unset(kind: type[E], config: PretrainedConfig) -> E:
    """An encoder whose weights are memory not yet written: no time goes into a draw that would be thrown away."""
    with torch.device("meta"):
        encoder = kind(config)
    return encoder.to_empty(device="cpu")


def _changed(config: PretrainedConfig, changes: dict[str, Any]) -> PretrainedConfig:
    config = deepcopy(config)
    for name, value in changes.items():
        if not hasattr(config, name):
            raise RecipeError(f"{name!r} is not a field of transformers' {type(config).__name__}")
        try:
            setattr(config, name, value)
        except (StrictDataclassError, TypeError, ValueError) as error:
            raise RecipeError(f"{name}={value!r}: {one_line(error)}") from error
    return config
