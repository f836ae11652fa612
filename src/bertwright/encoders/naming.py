"""The names that transformers gives to parameters, carried by the modules that own them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import ClassVar, TypeVar

from torch import nn

from .. import named

FOLDER = "bertwright.encoders"
M = TypeVar("M", bound=nn.Module)


class Architecture(ABC):
    """What transformers calls things in checkpoints of an architecture, besides the names that `called` gives."""

    model_types: ClassVar[tuple[str, ...]]
    """The `model_type`s of transformers' configs that it reads."""
    base_prefix: ClassVar[str]
    """What stands before the encoder's parameters in a model with a head, without the dot."""
    words_name: ClassVar[str]
    """The word embeddings' weights, from the base model on."""
    decoder_name: ClassVar[str]
    """The layer over the vocabulary; its weights are the word embeddings', stored a second time or not."""
    spans_name: ClassVar[str] = "qa_outputs"
    """The layer that scores each token as the start and the end of an answer."""
    copies: ClassVar[Mapping[str, str]] = {}
    """Tensors that may be stored under a second name: that name, and the one given by `called`."""
    old_endings: ClassVar[Mapping[str, str]] = {}
    """How names ended in old checkpoints, and how they end now."""
    kept_buffers: ClassVar[tuple[str, ...]] = ()
    """What is stored and is no parameter."""
    stacked: ClassVar[Mapping[str, int]] = {}
    """Tensors that hold several matrices one above the other: how their names end, and how many they hold."""


def architectures() -> Iterator[type[Architecture]]:
    """Those of this folder."""
    for name in named.names(FOLDER):
        yield named.find(FOLDER, name, Architecture)


def reading(model_type: str) -> type[Architecture] | None:
    """The architecture of this folder for a config's `model_type`."""
    return next((kind for kind in architectures() if model_type in kind.model_types), None)


def called(module: M, name: str) -> M:
    """The module, now knowing transformers' name for it: `called(nn.Linear(8, 8), "bert.pooler.dense")`.

    Parts of an encoder are named from the base model on ("embeddings.LayerNorm"), heads absolutely ("cls.predictions").
    """
    module.__dict__["hf_name"] = name
    return module


def stored_unit(module: nn.Module, own: str) -> float:
    """How many times as large as the parameter called `own` the tensor is that transformers knows; a power of two."""
    return getattr(module.get_submodule(own.rpartition(".")[0]), "stored_unit", 1.0)


def hf_names(module: nn.Module, prefix: str = "") -> dict[str, str]:
    """Maps each parameter's own name, as in `named_parameters()`, to `prefix` + transformers' name.

    Raises ValueError when a parameter's owner was not `called` anything, or when two parameters share a name: a mistake
    in an encoder's or a head's source, which no setting mends.
    """
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path, owner in module.named_modules():
        for own, _ in owner.named_parameters(prefix=path, recurse=False):
            if "hf_name" not in vars(owner):
                raise ValueError(
                    f"{own}: {type(owner).__name__} has no name in transformers; give it one with called()"
                )
            name = f"{prefix}{vars(owner)['hf_name']}.{own.rpartition('.')[2]}"
            if name in owners:
                raise ValueError(f"{own} and {owners[name]} are both called {name}")
            names[own], owners[name] = name, own
    return names
