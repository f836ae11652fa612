from __future__ import annotations

import numpy as np
import pytest

from bertwright.data.holdout import held_out


def signatures(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**64, count, np.uint64)


@pytest.mark.parametrize(("count", "share", "chosen"), [(1000, 0.01, 10), (2, 0.01, 1), (149, 0.01, 1), (10, 0.5, 5)])
def test_the_share_is_chosen(count: int, share: float, chosen: int) -> None:
    assert held_out(signatures(count), share, 1).sum() == chosen


@pytest.mark.parametrize(("count", "share"), [(0, 0.1), (1, 0.1), (100, 0.0)])
def test_nothing_is_chosen(count: int, share: float) -> None:
    assert held_out(signatures(count), share, 1).sum() == 0


def test_the_choice_is_by_seed_and_content_and_not_by_order() -> None:
    every = signatures(2000)
    chosen = held_out(every, 0.05, 1)
    assert set(every[::-1][held_out(every[::-1], 0.05, 1)]) == set(every[chosen])
    assert set(every[held_out(every, 0.05, 2)]) != set(every[chosen])


def test_a_larger_share_holds_the_smaller() -> None:
    every = signatures(2000)
    assert not (held_out(every, 0.01, 1) & ~held_out(every, 0.1, 1)).any()


def test_equal_signatures_go_together() -> None:
    every = np.repeat(signatures(300), 3)
    chosen = held_out(every, 0.1, 1).reshape(300, 3)
    assert (chosen.all(1) == chosen.any(1)).all()
    assert 90 <= chosen.sum() <= 92


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_is_most_of_the_corpus_is_passed_over(seed: int) -> None:
    every = np.concatenate((np.zeros(900, np.uint64), signatures(100)))
    assert not held_out(every, 0.01, seed)[:900].any()
    assert held_out(every, 0.01, seed).sum() == 10
    assert held_out(np.zeros(5, np.uint64), 0.01, seed).sum() == 0
