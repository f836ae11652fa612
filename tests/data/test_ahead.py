"""Batches prepared ahead are those of the feed, whatever is asked for, and leave no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from samples import corpus, feed

from bertwright.data.ahead import Ahead
from bertwright.flow import Batch
from bertwright.tasks.mlm import MaskedLM


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Noted:
    """A feed of real batches that says which steps were prepared, and by whom; some fail."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.feed = feed(MaskedLM(), corpus(), 4)
        self.steps: list[int] = []
        self.threads: set[str] = set()
        self.failing = failing

    def __call__(self, step: int) -> list[Batch]:
        self.steps.append(step)
        self.threads.add(threading.current_thread().name)
        if step in self.failing:
            raise ValueError(f"step {step}")
        return self.feed(step)


def ids(batches: list[Batch]) -> list[list[int]]:
    return [batch.ids.tolist() for batch in batches]


@pytest.mark.parametrize("asked", [(0, 1, 2, 3), (2, 3, 3, 0), (5, 1, 2, 0)])
def test_whatever_is_asked_for_is_what_the_feed_says(asked: tuple[int, ...]) -> None:
    plain = feed(MaskedLM(), corpus(), 4)
    with Ahead(feed(MaskedLM(), corpus(), 4), 6) as ahead:
        assert [ids(ahead(step)) for step in asked] == [ids(plain(step)) for step in asked]


def test_each_step_is_prepared_once_in_one_thread_and_none_beyond_the_last() -> None:
    noted = Noted()
    with Ahead(noted, 4) as ahead:
        for step in range(4):
            ahead(step)
    assert noted.steps == [0, 1, 2, 3]
    assert len(noted.threads) == 1
    assert threading.current_thread().name not in noted.threads


def test_the_next_step_is_prepared_while_nobody_asks() -> None:
    begun = threading.Event()

    def prepare(step: int) -> list[Batch]:
        if step == 1:
            begun.set()
        return []

    with Ahead(prepare, 3) as ahead:
        ahead(0)
        assert begun.wait(30)


def test_an_error_is_raised_when_its_step_is_asked_for() -> None:
    with Ahead(Noted(failing=(1,)), 4) as ahead:
        ahead(0)
        with pytest.raises(ValueError, match="step 1"):
            ahead(1)
        assert ids(ahead(2)) == ids(Noted()(2))


def test_what_was_begun_is_left_when_the_work_breaks_off() -> None:
    def broken_off() -> None:
        with Ahead(Noted(failing=(1,)), 4) as ahead:
            ahead(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()


def test_what_it_prepares_takes_no_thread_of_the_models() -> None:
    """torch gives each thread that splits its work helpers of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found: list[int] = []
        with Ahead(lambda step: found.append(torch.get_num_threads()) or [], 2) as ahead:
            ahead(0)
            ahead(1)
            assert torch.get_num_threads() == 3
            with ThreadPoolExecutor(1) as another:
                assert another.submit(torch.get_num_threads).result() == 3
        assert found == [1, 1]
    finally:
        torch.set_num_threads(before)
