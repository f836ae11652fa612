"""How sure a number is: 95 % intervals for shares and for means of a few runs."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist, mean, stdev
from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Interval(NamedTuple):
    """A number and where the true one lies, with a confidence of 95 %."""

    value: float
    low: float
    high: float


def of_share(right: float, number: int) -> Interval:
    """The share `right / number` of independent trials, by Wilson's score interval (J. Am. Stat. Assoc. 1927)."""
    share, z2 = right / number, NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = sqrt(z2 * (share * (1 - share) / number + z2 / (4 * number**2))) / (1 + z2 / number)
    return Interval(share, min(share, middle - half), max(share, middle + half))


def of_mean(values: list[float]) -> Interval:
    """The mean of independent values by Student's t, whose interval is wide for two or three; infinite for one."""
    centre, number = mean(values), len(values)
    if number == 1:
        return Interval(centre, -np.inf, np.inf)
    half = student(number - 1) * stdev(values) / sqrt(number)
    return Interval(centre, centre - half, centre + half)


def student(freedom: int) -> float:
    """Student's t that 95 % stay under in size, to six digits.

    With t = sqrt(n) tan(a) the density of n degrees of freedom is proportional to cos(a)^(n-1), which is summed here.
    """
    angles = np.linspace(0, np.pi / 2, 2_000_001)
    middles = (angles[1:] + angles[:-1]) / 2
    sums = np.cumsum(np.cos(middles) ** (freedom - 1))
    return float(sqrt(freedom) * np.tan(np.interp(LEVEL, sums / sums[-1], angles[1:])))
