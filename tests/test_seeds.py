"""Keyed randomness: what is drawn depends on the key alone, and looks like chance."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.seeds import Draws, generator, key_of, mixed

KEYS = st.integers(0, 2**64 - 1)
SIZES = st.integers(0, 12)


def chi_square(counts: np.ndarray) -> float:
    """Distance from equal counts, about the number of cells when they come from chance."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(KEYS, SIZES), min_size=1, max_size=8), st.data())
def test_draws_do_not_depend_on_grouping(examples: list[tuple[int, int]], data: st.DataObject) -> None:
    draws = Draws(3, "label")
    order = data.draw(st.permutations(range(len(examples))))
    together = draws.uniform("mask", [examples[i][0] for i in order], [examples[i][1] for i in order])
    alone = [draws.uniform("mask", [key], [size]) for key, size in examples]
    assert [len(x) for x in alone] == [size for _, size in examples]
    np.testing.assert_array_equal(together, np.concatenate([alone[i] for i in order]))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(KEYS, st.integers(0, 20), st.integers(0, 20))
def test_a_longer_example_begins_with_the_draws_of_a_shorter(key: int, size: int, more: int) -> None:
    draws = Draws(1)
    longer = draws.uniform("mask", [key], [size + more])
    np.testing.assert_array_equal(longer[:size], draws.uniform("mask", [key], [size]))


def _one_long() -> np.ndarray:
    return Draws(1).uniform("mask", [9], [200_000])


def _neighbouring_keys() -> np.ndarray:
    return Draws(1).uniform("mask", range(200_000), [1] * 200_000)


def _hashed_keys() -> np.ndarray:
    return Draws(1).uniform("mask", [key_of("example", 1, 0, i) for i in range(4000)], [50] * 4000)


@pytest.mark.parametrize("drawn", [_one_long, _neighbouring_keys, _hashed_keys])
def test_draws_are_uniform_and_unrelated(drawn) -> None:
    x = drawn()
    assert x.min() >= 0
    assert x.max() < 1
    # The bounds are passed by chance once in ten thousand: 64 cells, 100 pairs of neighbours.
    assert chi_square(np.bincount((x * 64).astype(int), minlength=64)) < 112
    cells = (x * 10).astype(int)
    for lag in (1, 2, 50):
        pairs = np.bincount(cells[:-lag] * 10 + cells[lag:], minlength=100)
        assert chi_square(pairs) < 160


def test_draws_differ_by_purpose_words_and_key() -> None:
    drawn = [
        Draws(1, "label").uniform("choose", [5], [5000]),
        Draws(1, "label").uniform("fate", [5], [5000]),
        Draws(2, "label").uniform("choose", [5], [5000]),
        Draws(1, "evaluate").uniform("choose", [5], [5000]),
        Draws(1, "label").uniform("choose", [6], [5000]),
    ]
    related = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(related).max() < 0.06  # four standard deviations
    assert len(set(np.concatenate(drawn))) == 25_000


def test_no_examples_draw_nothing() -> None:
    assert Draws(1).uniform("mask", [], []).shape == (0,)


def test_a_generator_is_its_key() -> None:
    first = generator(1, "order", 0).permutation(50)
    generator(1, "order", 1).random(10)
    np.testing.assert_array_equal(first, generator(1, "order", 0).permutation(50))
    assert (first != generator(1, "order", 1).permutation(50)).any()
    assert (first != generator(2, "order", 0).permutation(50)).any()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 9) | st.text(max_size=3), max_size=3))
def test_a_generator_is_philox_with_its_key(words: list[int | str]) -> None:
    numpys = np.random.Generator(np.random.Philox(key=key_of(*words)))
    np.testing.assert_array_equal(generator(*words).integers(0, 2**63, 5), numpys.integers(0, 2**63, 5))


def test_keys_tell_words_apart() -> None:
    words = [(1,), ("1",), (1, 2), (12,), ("ab", "c"), ("a", "bc"), ("abc",), (), ("",), (-1,), ("слово",), ("词",)]
    keys = [key_of(*one) for one in words]
    assert len(set(keys)) == len(words)
    assert all(0 <= key < 2**64 for key in keys)


def test_keys_are_the_same_in_every_process() -> None:
    code = "from bertwright.seeds import key_of; print(key_of('example', 1, 0, 7, 'слово'))"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert [int(run.stdout) for run in runs] == [key_of("example", 1, 0, 7, "слово")] * 2
    # As written in earlier runs' checkpoints: another value means that no run can be gone on with.
    assert key_of("example", 1, 0, 7) == 1126474952673346609


def test_the_mixer_is_splitmix64() -> None:
    """The first outputs of SplitMix64 from state 1234567, as its authors' program gives them."""
    states = np.array([1234567 + i * 0x9E3779B97F4A7C15 & 2**64 - 1 for i in range(3)], np.uint64)
    assert mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
