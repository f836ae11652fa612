"""Threads that wait sleep while other programs want the processors, and spin while they do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from samples import corpus, feed, model

from bertwright.flow import Batch
from bertwright.tasks.mlm import MaskedLM
from bertwright.train import waiting
from bertwright.train.loop import Loop, measure
from bertwright.train.optim import adamw
from bertwright.train.threads import processors
from bertwright.train.waiting import Waiting, busy_seconds

HERE = Path("/proc/self/task")


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    before, running = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    assert threading.active_count() == running


class Others:
    """What all programs have used of the processors, if others use `share` of each beside this one."""

    def __init__(self, share: float) -> None:
        self.share, self.used, self.since = share, 0.0, time.monotonic()

    def __call__(self) -> float:
        now = time.monotonic()
        self.used += self.share * len(processors()) * (now - self.since)
        self.since = now
        return self.used + time.process_time()


def after_a_second(own: Waiting) -> bool:
    for _ in range(3):
        with own.watching():
            time.sleep(0.35)
    return own.sleeps


@pytest.mark.skipif(len(processors()) < 2, reason="two threads have one processor, and sleep for each other")
def test_they_sleep_as_long_as_others_want_the_processors() -> None:
    others = Others(0.0)
    with Waiting(others) as own:
        before = len([*HERE.iterdir()]) if HERE.is_dir() else 0
        assert not after_a_second(own)
        others.share = 1.0
        assert after_a_second(own)
        if HERE.is_dir():  # More threads than processors are what has them sleep.
            assert len([*HERE.iterdir()]) - before >= len(processors()) - 1
        assert after_a_second(own)
        assert torch.get_num_threads() == 2
        others.share = 0.0
        assert not after_a_second(own)


def asleep() -> bool:
    return any(thread.name == "idle team" for thread in threading.enumerate())


@pytest.fixture
def _others_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs take every processor, and no second goes by before that is seen."""
    monkeypatch.setattr(waiting, "busy_seconds", Others(1.0))
    monkeypatch.setattr(waiting, "_SECONDS", 0.0)


@pytest.mark.usefixtures("_others_at_once")
def test_a_loop_makes_room_from_its_first_step_on() -> None:
    task = MaskedLM()
    whole = model(task)
    optimizer = adamw(whole, lr=1e-3, weight_decay=0.0)
    loop = Loop(whole, feed(task, corpus()), optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1)
    steps = loop.steps(2)
    assert not asleep()
    next(steps)
    assert asleep()
    steps.close()
    assert not asleep()


@pytest.mark.usefixtures("_others_at_once")
def test_what_judges_makes_room_too() -> None:
    task, seen = MaskedLM(), []

    def batches() -> Iterator[Batch]:
        for step in range(2):
            seen.append(asleep())
            yield from feed(task, corpus())(step)

    measure(model(task), batches(), "fp32")
    assert seen == [False, True]
    assert not asleep()


def test_nobody_is_left_when_it_is_over() -> None:
    """The fixture counts."""
    with Waiting(Others(1.0)) as own:
        assert after_a_second(own)


def test_what_others_do_between_steps_does_not_count() -> None:
    others = Others(0.0)
    with Waiting(others) as own:
        for _ in range(3):
            with own.watching():
                time.sleep(0.35)
            others.used += 100.0
        assert not own.sleeps


def test_of_less_than_a_second_nothing_is_concluded() -> None:
    with Waiting(Others(1.0)) as own:
        with own.watching():
            time.sleep(0.1)
        assert not own.sleeps


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_person_has_set_stays(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with Waiting(Others(1.0)) as own:
        assert not after_a_second(own)


def test_a_single_thread_waits_for_nobody() -> None:
    torch.set_num_threads(1)
    with Waiting(Others(1.0)) as own:
        assert not after_a_second(own)


def test_where_the_system_does_not_tell_nothing_is_done() -> None:
    with Waiting(lambda: None) as own:
        assert not after_a_second(own)


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="the system does not tell")
def test_the_processors_are_busy_at_least_as_long_as_this_process_is() -> None:
    before, own = busy_seconds(), time.process_time()
    while time.process_time() - own < 0.5:
        pass
    after = busy_seconds()
    assert before is not None
    assert after is not None
    assert after - before >= 0.3  # They count in ticks.
