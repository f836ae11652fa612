"""The names that transformers gives to parameters, carried by the modules that own them."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def called(module: M, name: str) -> M:
    """The module, now knowing transformers' name for it: `called(nn.Linear(8, 8), "bert.pooler.dense")`.

    Parts of an encoder are named from the base model on ("embeddings.LayerNorm"), heads absolutely ("cls.predictions").
    """
    module.__dict__["hf_name"] = name
    return module


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
