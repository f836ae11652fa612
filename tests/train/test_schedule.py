"""The learning rate's factor at a step."""

from __future__ import annotations

from math import cos, pi

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import RecipeError
from bertwright.train.schedule import SHAPES, factor


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", [1.0, (1 + cos(pi / 4)) / 2, 0.5, (1 + cos(3 * pi / 4)) / 2, 0.0]),
        ("trapezoid", [1.0, 1.0, 1.0, 1.0, 0.0]),
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_shapes_at_their_quarters(shape: str, expected: list[float]) -> None:
    found = [factor(shape, step, steps=110, warmup=10) for step in (10, 35, 60, 85, 110)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_trapezoid_falls_in_its_last_fifth() -> None:
    found = [factor("trapezoid", step, steps=100, warmup=0) for step in (79, 80, 85, 90, 95, 99)]
    assert found == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25, 0.05])


@pytest.mark.parametrize("shape", SHAPES)
def test_warmup_rises_straight_to_the_peak(shape: str) -> None:
    assert [factor(shape, step, steps=100, warmup=4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(shape, 4, steps=100, warmup=4) == 1.0
    assert factor(shape, 0, steps=100, warmup=0) == 1.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(list(SHAPES)), st.integers(1, 300), st.integers(0, 100))
def test_every_step_learns_and_none_more_than_the_peak(shape: str, steps: int, warmup: int) -> None:
    warmup = min(warmup, steps)
    found = [factor(shape, step, steps=steps, warmup=warmup) for step in range(steps)]
    assert all(0 < one <= 1 for one in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    assert factor(shape, steps + 50, steps=steps, warmup=warmup) == SHAPES[shape](1.0)


def test_an_unknown_shape_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="unknown schedule 'step'; known are linear, cosine, trapezoid, constant"):
        factor("step", 0, steps=10, warmup=5)
