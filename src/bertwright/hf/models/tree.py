"""transformers' tree of names over modules that stand in another order: the same modules and parameters, no copies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ...encoders.naming import Architecture


class Node(nn.Module):
    """A name with others below it, as `attention` in `encoder.layer.0.attention.self.query`; it computes nothing.

    What stands under it may be a parameter of a module elsewhere, which gets whatever takes that one's place.
    """

    def __init__(self) -> None:
        super().__init__()
        vars(self)["owners"] = {}

    def hold(self, owner: nn.Module, own: str) -> None:
        """Has the parameter `own` of a module here too."""
        self.register_parameter(own, owner.get_parameter(own))
        vars(self)["owners"][own] = owner

    def forward(self, *args: Any, **named: Any) -> Any:
        raise TypeError("this part is a name for the weights below it; call the model, or its base model")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and name in self.__dict__.get("_modules", {}):
            raise AttributeError(
                f"{name!r} cannot be replaced by a {type(value).__name__}: the layers compute with its weights beside "
                "those of others; change the weights in place, or use transformers' own class"
            )
        if isinstance(value, nn.Parameter) and name in vars(self)["owners"]:
            setattr(vars(self)["owners"][name], name, value)
        super().__setattr__(name, value)


def plant(root: nn.Module, part: nn.Module, prefix: str = "") -> None:
    """Hangs what in `part` is `called` something under `root` by these names, `prefix` (of parts of it) left out.

    A model of transformers' that `root` stands in takes its weights for drawn, and leaves them alone.
    """
    for parameter in part.parameters():
        vars(parameter)["_is_hf_initialized"] = True
    for name, owner in _called(part):
        path = name.removeprefix(prefix).split(".")
        if next(owner.children(), None) is None:
            _grow(root, path[:-1], path[-1]).add_module(path[-1], owner)
        else:
            place = _grow(root, path, "")
            for own, _ in owner.named_parameters(recurse=False):
                place.hold(owner, own)


def tie(root: nn.Module, kind: type[Architecture], words: nn.Embedding) -> None:
    """Gives what a vocabulary head under `root` shares its second names, as transformers' state has them."""
    _grow(root, kind.decoder_name.split("."), "").register_parameter("weight", words.get_parameter("weight"))
    for copy, original in kind.copies.items():
        place, _, own = copy.rpartition(".")
        _grow(root, place.split("."), "").register_parameter(own, root.get_parameter(original))


def _called(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for module in part.modules():
        if "hf_name" in vars(module):
            yield vars(module)["hf_name"], module


def _grow(root: nn.Module, path: list[str], then: str) -> Any:
    """The module at `path` below `root`, made where there is none; a list where its children are numbers."""
    for word, below in zip(path, [*path, then][1:], strict=True):
        if word not in root._modules:
            root.add_module(word, nn.ModuleList() if below.isdigit() else Node())
        root = root.get_submodule(word)
    return root
