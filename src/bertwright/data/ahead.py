"""Batches prepared ahead: while a step trains, one thread cuts, hides and packs what the next one needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import torch

from ..flow import Batch
from ..openmp import run_on

Prepare = Callable[[int], list[Any]]
Begin = Callable[[Prepare, int], AbstractContextManager[Prepare]]
"""When a step's batches are prepared: `Ahead`, or `on_demand`."""


class Ahead:
    """`prepare`, with the step after the one asked for begun in a thread, unless that is `until`.

    `prepare` is a pure function of the step, as a feed is; it only ever runs in that thread, so it need not be safe for
    several. What it raises is raised when its step is asked for. As a context it leaves no thread behind.
    """

    def __init__(self, prepare: Prepare, until: int) -> None:
        self._prepare = prepare
        self._until = until
        self._worker = ThreadPoolExecutor(1, "batches")
        # One that splits what it does has helpers of its own, beside which the model's threads sleep too soon.
        threads = torch.get_num_threads()
        self._worker.submit(run_on, 1).result()
        run_on(threads)
        self._begun: dict[int, Future[list[Any]]] = {}

    def __call__(self, step: int) -> list[Any]:
        at_hand = self._begun.pop(step, None) or self._worker.submit(self._prepare, step)
        for other in self._begun.values():
            other.cancel()
        batches = at_hand.result()
        following = step + 1
        self._begun = {following: self._worker.submit(self._prepare, following)} if following < self._until else {}
        return batches

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)


@contextmanager
def on_demand(prepare: Prepare, until: int) -> Iterator[Prepare]:
    """`prepare` itself, when a step is asked for and in its thread: for what draws from generators that are shared with
    the forward pass."""
    yield prepare


def pinned(batch: Batch) -> Batch:
    """The batch in memory that a GPU copies from while the host goes on."""
    return batch.mapped(lambda x: x.pin_memory())
