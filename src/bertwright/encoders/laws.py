"""Laws by which weights are drawn, one small function each; a draw depends on the seed and the tensor's name alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..seeds import key_of
from .naming import hf_names


class Place(NamedTuple):
    """What a law may know of a tensor: where it stands and what the config says of drawing."""

    name: str
    """transformers' name of the tensor"""
    owner: nn.Module
    spread: float
    """the config's `initializer_range`"""
    pad: int | None
    """the row of padding in the word embeddings"""


Law = Callable[[Tensor, Place, torch.Generator], None]


def paper(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """BERT 2018: a normal cut at two standard deviations for matrices, zero biases, unit norms."""
    if tensor.ndim < 2:
        _plain(tensor, place)
    else:
        nn.init.trunc_normal_(tensor, 0.0, place.spread, -2 * place.spread, 2 * place.spread, generator)


def normal(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """As transformers draws: a whole normal for matrices, the row of padding zero, zero biases, unit norms."""
    if tensor.ndim < 2:
        _plain(tensor, place)
        return
    tensor.normal_(0.0, place.spread, generator=generator)
    if place.pad is not None and place.name.endswith("word_embeddings.weight"):
        tensor[place.pad] = 0


def zeros(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """Everything zero, norms too: for seeing what a draw is for."""
    tensor.zero_()


def _plain(tensor: Tensor, place: Place) -> None:
    tensor.fill_(1.0 if "norm" in type(place.owner).__name__.lower() and place.name.endswith(".weight") else 0.0)


LAWS: Mapping[str, Law] = {"paper": paper, "normal": normal, "zeros": zeros}

_WARNINGS = {
    "zeros": "all weights are zero: every unit of a layer gets the same gradient, and most get none, "
    "so the model can learn nothing but the biases of its heads; use the law 'paper' to train",
}


def warning(law: str) -> str | None:
    """One line on why a model that is drawn by `law` will not learn; None when it will."""
    return _WARNINGS.get(law)


@torch.no_grad()
def draw(
    module: nn.Module,
    seed: int,
    law: str,
    prefix: str = "",
    *,
    spread: float = 0.02,
    pad: int | None = None,
) -> None:
    """Draws every parameter of `module` in place, each from a generator of its own keyed by (seed, prefix + its name).

    The same tensor comes out whatever else is drawn, in which order and on which device. Names are transformers' own,
    so `module` has to have them (see `hf_names`). `spread` is the standard deviation; `pad` the id of padding, for laws
    that treat its row apart. Raises RecipeError for an unknown law.
    """
    if law not in LAWS:
        raise RecipeError(f"unknown initialisation {law!r}; known are {', '.join(LAWS)}")
    for own, name in hf_names(module, prefix).items():
        parameter = module.get_parameter(own)
        drawn = torch.empty(parameter.shape)
        place = Place(name, module.get_submodule(own.rpartition(".")[0]), spread, pad)
        LAWS[law](drawn, place, torch.Generator().manual_seed(key_of(seed, "init", name)))
        parameter.copy_(drawn)
