"""Whether threads that wait for each other spin or sleep: as other programs leave the processors free, or want them.

OpenMP's threads meet some hundred times in a step of training. One that spins while it waits goes on at once, one that
sleeps has to be woken, for longer than many an operation takes. But where another program wants the processor, a thread
that spins keeps it from the very thread that it waits for. GNU's OpenMP, which torch has on Linux, spins little as soon
as it has more threads than there are processors (libgomp's manual, GOMP_SPINCOUNT), and that can be brought about at
any time: by a thread that has a team of its own, and no work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import torch

from ..openmp import is_set_by_the_person, run_on
from .threads import processors

_SECONDS = 1.0
_TOLERATED = 0.25
"""Processors' worth of other programs' work that is not made room for."""
_SPLIT = 1 << 15
"""Numbers that torch gives a thread at least."""


class Waiting:
    """While it lasts, threads that wait sleep soon as long as other programs need processors that threads here use.

    `busy` tells the seconds that all processors of this process have been busy, None where that is not to be had.
    """

    def __init__(self, busy: Callable[[], float | None] | None = None) -> None:
        self._busy = busy or busy_seconds
        self._idle: _IdleTeam | None = None
        self._seconds = self._others = 0.0

    @property
    def sleeps(self) -> bool:
        return self._idle is not None

    def __enter__(self) -> Self:
        self._threads = torch.get_num_threads()
        self._watches = self._threads > 1 and not is_set_by_the_person() and self._busy() is not None
        return self

    def __exit__(self, *error: object) -> None:
        self._go_on_spinning()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around what the threads do, as a step: looks at what others do meanwhile, and after a second of it sees to
        how threads wait. That takes some ten microseconds for a processor."""
        if not self._watches:
            yield
            return
        before = self._used()
        yield
        seconds, busy, own = (now - then for now, then in zip(self._used(), before, strict=True))
        self._seconds += seconds
        self._others += busy - own
        if self._seconds >= _SECONDS:
            self._see_to_it(self._others / self._seconds)
            self._seconds = self._others = 0.0

    def _see_to_it(self, others: float) -> None:
        if others <= len(processors()) - self._threads + _TOLERATED:
            self._go_on_spinning()
        elif self._idle is None:
            self._idle = _IdleTeam(len(processors()) - self._threads + 2)
            run_on(self._threads)

    def _used(self) -> tuple[float, float, float]:
        """What the clock says, what all programs have used of the processors, and what this one has."""
        return time.monotonic(), self._busy() or 0.0, time.process_time()

    def _go_on_spinning(self) -> None:
        if self._idle is not None:
            self._idle.end()
            self._idle = None


class _IdleTeam:
    """A thread with `size` - 1 more for parallel work, of which it has none after the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._there, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._stay, name="idle team", daemon=True)
        self._thread.start()
        self._there.wait()

    def end(self) -> None:
        """Its threads are gone when it returns."""
        self._over.set()
        self._thread.join()

    def _stay(self) -> None:
        run_on(self._size)
        torch.zeros(self._size * _SPLIT).add_(1)
        self._there.set()
        self._over.wait()


def busy_seconds() -> float | None:
    """How long the processors of this process have been busy since the system started, added up; None where the system
    does not tell."""
    names = {f"cpu{number}" for number in processors()}
    with suppress(OSError, ValueError):
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        # user, nice and system; idle and waiting for a disk are not busy; interrupts.
        used = [int(x) for name, *counts in lines if name in names for x in (*counts[:3], *counts[5:7])]
        return sum(used) / os.sysconf("SC_CLK_TCK")
    return None
