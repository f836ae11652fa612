"""The learning rate's factor at a step."""

from __future__ import annotations

from math import cos, pi, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.errors import RecipeError
from bertwright.train.schedule import SHAPES, factor, fewest, settled


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
    assert found == pytest.approx([1.0, 1.0, 1 - sqrt(0.25), 1 - sqrt(0.5), 1 - sqrt(0.75), 1 - sqrt(0.95)])
    assert factor("trapezoid", 100, steps=100, warmup=0) == 0.0


def test_the_fall_is_a_share_of_all_steps() -> None:
    found = [factor("trapezoid", step, steps=100, warmup=40, decay=0.5) for step in (39, 50, 51, 75)]
    assert found[:2] == [1.0, 1.0]
    assert found[2:] == pytest.approx([1 - sqrt(1 / 50), 1 - sqrt(0.5)])
    assert [factor("trapezoid", step, steps=100, warmup=0, decay=0.0) for step in (0, 99)] == [1.0, 1.0]


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
    end = {"constant": 1.0}.get(shape, 0.0) if round(0.2 * steps) or shape != "trapezoid" else 1.0
    assert factor(shape, steps + 50, steps=steps, warmup=warmup) == end


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(list(SHAPES)), st.integers(2, 120), st.floats(0, 0.9), st.floats(0, 0.9))
def test_after_the_warm_up_it_only_falls_from_1(shape: str, steps: int, share: float, decay: float) -> None:
    """Also where the end of the trapezoid would begin before the warm-up is over."""
    warmup = round(share * steps)
    factors = [factor(shape, step, steps=steps, warmup=warmup, decay=decay) for step in range(warmup, steps)]
    assert factors[:1] in ([], [1.0])
    assert factors == sorted(factors, reverse=True)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(list(SHAPES)), st.integers(1, 120), st.integers(0, 40), st.floats(0, 0.9), st.integers(1, 80))
def test_what_is_settled_stays_however_long_the_run_becomes(
    shape: str, steps: int, warmup: int, decay: float, more: int
) -> None:
    def factors(whole: int, done: int) -> list[float]:
        return [factor(shape, step, steps=whole, warmup=warmup, decay=decay) for step in range(done)]

    free = settled(shape, steps=steps, warmup=warmup, decay=decay)
    assert 0 <= free <= steps
    assert factors(steps, free) == factors(steps + more, free)
    if shape == "trapezoid" and free < steps:
        assert factors(steps, free + 1) != factors(steps + 100 * more, free + 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(list(SHAPES)), st.integers(0, 120), st.integers(0, 40), st.floats(0, 0.9))
def test_the_fewest_steps_that_leave_what_is_done_as_it_was(shape: str, done: int, warmup: int, decay: float) -> None:
    def free(steps: int) -> int:
        return settled(shape, steps=steps, warmup=warmup, decay=decay)

    least = fewest(shape, done, warmup=warmup, decay=decay)
    expected = next((steps for steps in range(done, 2000) if free(steps) >= done), None)
    assert least == expected


def test_an_unknown_shape_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="unknown schedule 'step'; known are linear, cosine, trapezoid, constant"):
        factor("step", 0, steps=10, warmup=5)
