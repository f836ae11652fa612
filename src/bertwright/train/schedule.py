"""Learning-rate schedules: the factor on the peak rate, as a function of the step alone."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from ..errors import RecipeError

Shape = Callable[[float], float]


def linear(done: float) -> float:
    """Straight down to 0, as BERT 2018."""
    return 1.0 - done


def cosine(done: float) -> float:
    """Half a cosine down to 0 (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + cos(pi * done))


def trapezoid(done: float) -> float:
    """Level for four fifths, then straight down to 0 (Zhai et al., CVPR 2022; "warm-up, stable, decay")."""
    return min(1.0, 5.0 * (1.0 - done))


def constant(done: float) -> float:
    """Level."""
    return 1.0


SHAPES: dict[str, Shape] = {shape.__name__: shape for shape in (linear, cosine, trapezoid, constant)}


def factor(shape: str, step: int, *, steps: int, warmup: int) -> float:
    """The factor for a step counted from 0: a straight rise over `warmup` steps, then the shape over the rest.

    Raises RecipeError for an unknown shape.
    """
    if shape not in SHAPES:
        raise RecipeError(f"unknown schedule {shape!r}; known are {', '.join(SHAPES)}")
    if step < warmup:
        return (step + 1) / warmup
    return SHAPES[shape](min(1.0, (step - warmup) / max(1, steps - warmup)))
