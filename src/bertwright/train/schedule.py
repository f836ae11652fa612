"""Learning-rate schedules: the factor on the peak rate, as a function of the step alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import ceil, cos, pi, sqrt

from ..errors import RecipeError

Shape = Callable[[int, int, int], float]
"""The factor after `done` of the `span` steps that follow the warm-up, of which the last `fall` are for the end."""


def linear(done: int, span: int, fall: int) -> float:
    """Straight down to 0, as BERT 2018."""
    return 1.0 - done / span


def cosine(done: int, span: int, fall: int) -> float:
    """Half a cosine down to 0 (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + cos(pi * (done / span)))


def trapezoid(done: int, span: int, fall: int) -> float:
    """Level, then down to 0 by one minus a square root over the last `fall` steps: "warm-up, stable, decay".

    (Zhai et al., CVPR 2022; the form of the decay is that of Hägele et al., "Scaling laws and compute-optimal training
    beyond fixed training durations", NeurIPS 2024)
    """
    left = span - done
    return 1.0 if left >= fall else 1.0 - sqrt(1.0 - left / fall)


def constant(done: int, span: int, fall: int) -> float:
    """Level."""
    return 1.0


SHAPES: dict[str, Shape] = {shape.__name__: shape for shape in (linear, cosine, trapezoid, constant)}


def factor(shape: str, step: int, *, steps: int, warmup: int, decay: float = 0.2) -> float:
    """The factor for a step counted from 0: a straight rise over `warmup` steps, then the shape over the rest.

    `decay` is the share of all steps over which the trapezoid falls. Raises RecipeError for an unknown shape.
    """
    if shape not in SHAPES:
        raise RecipeError(f"unknown schedule {shape!r}; known are {', '.join(SHAPES)}")
    if step < warmup:
        return (step + 1) / warmup
    span = max(1, steps - warmup)
    return SHAPES[shape](min(step - warmup, span), span, _fall(steps, warmup, decay))


def _fall(steps: int, warmup: int, decay: float) -> int:
    """Over how many steps a trapezoid falls: at most all that follow the warm-up."""
    return min(round(decay * steps), max(1, steps - warmup))


def settled(shape: str, *, steps: int, warmup: int, decay: float) -> int:
    """How many first steps have a factor that any larger number of steps would give them too."""
    plateau = {"constant": steps, "trapezoid": steps - _fall(steps, warmup, decay) + 1}.get(shape, 0)
    return min(steps, max(warmup, plateau))


def fewest(shape: str, done: int, *, warmup: int, decay: float) -> int | None:
    """The smallest number of steps under which the first `done` are `settled`; None where there is none."""
    if done > warmup and shape not in ("constant", "trapezoid"):
        return None
    enough = range(done, ceil(done / (1.0 - decay)) + 2)
    found = bisect_left(enough, True, key=lambda steps: settled(shape, steps=steps, warmup=warmup, decay=decay) >= done)
    return enough[found]
