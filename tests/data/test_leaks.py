"""What is told of a pair without reading it: nothing where there is nothing, and whatever leaks, found."""

from __future__ import annotations

import numpy as np
import pytest
from samples import vocabulary

from bertwright.data.leaks import told_without_reading
from bertwright.flow import Example
from bertwright.seeds import generator

OWN = vocabulary(600)
PAIRS = 12_000


def pairs(change: str, number: int = PAIRS) -> list[Example]:
    """Pairs of random segments; `change` says what is otherwise where the label is 1."""
    draw = generator("pairs", change)
    made = []
    for _ in range(number):
        label = int(draw.random() < (0.7 if change == "uneven" else 0.5))
        total, first = 60, int(draw.integers(10, 50))
        second = total - first
        if label and change == "lengths":
            second = int(draw.integers(5, 45))
        if label and change == "sum":
            first, second = second - int(draw.integers(-4, 5)), first
        one, two = draw.integers(5, 600, first), draw.integers(5, 600, second)
        at = {"first of first": (one, 0), "last of first": (one, -1), "first of second": (two, 0), "last": (two, -1)}
        if label and change in at and draw.random() < 0.2:
            segment, place = at[change]
            segment[place] = 7
        made.append(OWN.pair(one, two, mine=label))
    return made


@pytest.mark.parametrize("change", ["nothing", "uneven"])
def test_nothing_is_told_where_nothing_leaks(change: str) -> None:
    leak = told_without_reading(pairs(change), "mine")
    assert leak.pairs == PAIRS
    assert leak.excess < 0.012
    if change == "nothing":
        assert leak.share == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("change", ["lengths", "sum", "first of first", "last of first", "first of second", "last"])
def test_every_kind_of_leak_is_found(change: str) -> None:
    """A border that is another one in a fifth of the pairs of a label tells a tenth of a point of one half."""
    assert told_without_reading(pairs(change), "mine").share > 0.57


def test_what_stands_inside_is_not_seen() -> None:
    made = pairs("nothing", 4000)
    for example in made:
        example.ids[3] = 5 + example.labels["mine"]
    assert told_without_reading(made, "mine").share == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("number", [0, 1, 7])
def test_too_few_pairs_tell_nothing(number: int) -> None:
    leak = told_without_reading(pairs("lengths", number), "mine")
    assert (leak.pairs, leak.share) == (0, 0.0)


def test_the_same_pairs_are_judged_alike() -> None:
    made = pairs("last", 2000)
    assert told_without_reading(made, "mine") == told_without_reading(made, "mine")
    assert np.isfinite(told_without_reading(made, "mine").error)
