"""Laws by which weights are drawn, one small function each; a draw depends on the seed and the tensor's name alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..seeds import key_of
from .naming import hf_names
from .neighbours import NEIGHBOURS, Neighbours


class Spread(NamedTuple):
    """How widely a tensor is drawn."""

    deviation: float
    """standard, of the whole normal"""
    cut: float = 2.0
    """where a law that cuts it does so, in deviations"""


class Part(NamedTuple):
    """What a matrix does in finding positions, for laws that know how to."""

    role: Literal["positions", "query", "key"]
    """the table of learned positions, or one side of a layer's scores"""
    heads: int
    layer: int = 0


class Place(NamedTuple):
    """What a law may know of a tensor: where it stands and what its architecture says of drawing."""

    name: str
    """transformers' name of the tensor"""
    owner: nn.Module
    spread: Spread
    blank: int | None
    """the row that stands for nothing: of padding, in the word embeddings"""
    part: Part | None = None
    """None: it is no such matrix, or its architecture finds neighbours by itself"""


Law = Callable[[Tensor, Place, torch.Generator], None]


def paper(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """As the architecture's paper: a normal cut at two standard deviations for matrices, zero biases, unit norms."""
    if tensor.ndim < 2:
        _plain(tensor, place)
    else:
        deviation, limit = place.spread.deviation, place.spread.cut * place.spread.deviation
        nn.init.trunc_normal_(tensor, 0.0, deviation, -limit, limit, generator)


def local(tensor: Tensor, place: Place, generator: torch.Generator, neighbours: Neighbours = NEIGHBOURS) -> None:
    """As `paper`, with sinusoids for positions, and heads in the first layers that look at a neighbour each.

    Learned absolute positions take millions of tokens to find what stands next to what; here they start with it. An
    architecture without them, as one with rotary positions, is drawn as by `paper`.
    """
    paper(tensor, place, generator)
    if place.part is None:
        return
    role, heads, layer = place.part
    rows, hidden = tensor.shape
    width = hidden // heads
    if role == "positions":
        table = neighbours.table(rows, hidden, width)
        tensor[:, : table.shape[1]] = neighbours.amplitude * place.spread.deviation * table
    elif layer < neighbours.layers:
        for head, offset in enumerate(neighbours.chosen(heads)):
            turn = neighbours.turn(width, offset if role == "key" else 0)
            tensor[head * width :][: len(turn), : len(turn)] += neighbours.gain * turn


def normal(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """As transformers draws: a whole normal for matrices, the row of padding zero, zero biases, unit norms."""
    if tensor.ndim < 2:
        _plain(tensor, place)
        return
    tensor.normal_(0.0, place.spread.deviation, generator=generator)
    if place.blank is not None:
        tensor[place.blank] = 0


def zeros(tensor: Tensor, place: Place, generator: torch.Generator) -> None:
    """Everything zero, norms too: for seeing what a draw is for."""
    tensor.zero_()


def _plain(tensor: Tensor, place: Place) -> None:
    """Biases zero, or where their layer says that it begins, as `nn.scores.Scores` does; norms one."""
    if place.name.endswith(".bias"):
        tensor.fill_(getattr(place.owner, "first_bias", 0.0))
    else:
        tensor.fill_(1.0 if "norm" in type(place.owner).__name__.lower() else 0.0)


LAWS: Mapping[str, Law] = {"paper": paper, "local": local, "normal": normal, "zeros": zeros}

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
    law: str | Law,
    prefix: str = "",
    *,
    spread: float | Callable[[str], Spread] = 0.02,
    blank: Mapping[str, int] = MappingProxyType({}),
    part: Callable[[str], Part | None] = lambda name: None,
) -> None:
    """Draws every parameter of `module` in place, each from a generator of its own keyed by (seed, prefix + its name).

    The same tensor comes out whatever else is drawn, in which order and on which device. Names are transformers' own,
    so `module` has to have them (see `hf_names`). `spread` is the standard deviation, or says by name how widely a
    tensor is drawn; `blank` names the tensors with a row that stands for nothing, and `part` says by name what a tensor
    does in finding positions, for laws that treat these apart. Raises RecipeError for an unknown law.
    """
    by = _named(law) if isinstance(law, str) else law
    for own, name in hf_names(module, prefix).items():
        parameter = module.get_parameter(own)
        drawn = torch.empty(parameter.shape)
        width = spread(name) if callable(spread) else Spread(spread)
        place = Place(name, module.get_submodule(own.rpartition(".")[0]), width, blank.get(name), part(name))
        by(drawn, place, torch.Generator().manual_seed(key_of(seed, "init", name)))
        parameter.copy_(drawn)


def _named(law: str) -> Law:
    if law not in LAWS:
        raise RecipeError(f"unknown initialisation {law!r}; known are {', '.join(LAWS)}")
    return LAWS[law]
