"""Intervals are those of the books, as scipy has them."""

from __future__ import annotations

from math import inf

import pytest
from scipy.stats import binomtest, sem, t

from bertwright.run.intervals import of_mean, of_share, student


@pytest.mark.parametrize(("right", "number"), [(0, 10), (10, 10), (1, 1), (7, 9), (501, 1000), (66_000, 67_000)])
def test_the_interval_of_a_share_is_wilsons(right: int, number: int) -> None:
    theirs = binomtest(right, number).proportion_ci(method="wilson")
    assert of_share(right, number) == pytest.approx((right / number, theirs.low, theirs.high), abs=1e-12)


def test_ties_count_half() -> None:
    middle = of_share(4.5, 9)
    assert middle.value == 0.5
    assert middle.low + middle.high == pytest.approx(1)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 200])
def test_students_t(freedom: int) -> None:
    assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-6)


def test_the_interval_of_a_mean() -> None:
    values = [0.71, 0.69, 0.75]
    low, high = t.interval(0.95, 2, loc=sum(values) / 3, scale=sem(values))
    assert of_mean(values) == pytest.approx((sum(values) / 3, low, high), rel=1e-6)
    assert of_mean([0.5, 0.5]) == (0.5, 0.5, 0.5)
    assert of_mean([0.5]) == (0.5, -inf, inf)
