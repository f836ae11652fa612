"""How many threads a CPU's products run on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from math import ceil
from pathlib import Path
from statistics import median

import torch

_ROUNDS = 5
_GAIN = 1.05
"""By how much more threads have to be faster: those that are not leave a core to others."""


def threads() -> int:
    """How many threads to train on: what `OMP_NUM_THREADS` says, else as many as multiply fastest.

    No more are tried than processors that the process may use, by its affinity and by the quotas of its control
    groups: a container's share of a large machine is often a few processors of many, and a thread for each of these
    would wait for its turn most of the time. Where two processors are one core, it is timed whether a thread on each
    of them pays; elsewhere nothing is.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    own = processors()
    quotas = _quotas(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    most = min(len(own), *quotas, torch.get_num_threads())
    return fastest({most, min(most, cores(own, Path("/sys/devices/system/cpu")))})


def fastest(candidates: Iterable[int]) -> int:
    """The candidate with which products of matrices are fastest, in turns; of two about as fast, the smaller."""
    counts = sorted(candidates)
    if len(counts) == 1:
        return counts[0]
    before = torch.get_num_threads()
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(_ROUNDS):
        for count in counts:
            torch.set_num_threads(count)
            times[count].append(_product())
    torch.set_num_threads(before)
    best = counts[0]
    for count in counts[1:]:
        if median(times[count]) * _GAIN < median(times[best]):
            best = count
    return best


def cores(processors: Iterable[int], home: Path) -> int:
    """How many cores the processors are, by the system's lists of which share one; as many, where it has none."""
    siblings = set()
    for number in processors:
        found = str(number)
        with suppress(OSError):
            found = (home / f"cpu{number}/topology/thread_siblings_list").read_text()
        siblings.add(found.strip())
    return len(siblings)


def processors() -> set[int]:
    """Those that the process may run on, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _quotas(own: Path, home: Path) -> list[int]:
    """Processors' worth of time that each control group above the process has, of the second version."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                group = home / path.strip("/")
                return [
                    quota
                    for one in (group, *group.parents)
                    if one.is_relative_to(home) and (quota := quota_of(one)) is not None
                ]
    return []


def quota_of(group: Path) -> int | None:
    """Processors' worth of time that a control group has; None where it sets no limit."""
    with suppress(OSError, ValueError):  # No such file, or "max".
        quota, period = (group / "cpu.max").read_text().split()
        return max(1, ceil(int(quota) / int(period)))
    return None


def _product(rows: int = 2048, width: int = 1024) -> float:
    """Seconds; the second of two products, for the first sets the threads up."""
    x, weight = torch.ones(rows, width), torch.ones(width, width)
    torch.mm(x, weight)
    started = time.perf_counter()
    torch.mm(x, weight)
    return time.perf_counter() - started
