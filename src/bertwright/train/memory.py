"""How the process gets memory for its tensors, and how much there is."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MOST = 2**31 - 1
_STEP = 256 << 20


def keep_memory() -> bool:
    """Has glibc keep the memory that tensors free, instead of giving it back and asking again; whether it could.

    By default every large tensor is a mapping of its own, whose pages the system zeroes at first touch: that was up to
    a third of a training step on a CPU. Does nothing where the C library is another, or its allocator was replaced.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_TOP_PAD, _STEP))
        return all(libc.mallopt(what, value) for what, value in settings)
    except (OSError, AttributeError):
        return False


def free_memory(on: torch.device) -> int:
    """Bytes that the process can still get on a device: on a CPU the least of what the system, the control groups it
    runs in and its own limits (`ulimit -v`, `ulimit -d`) leave."""
    if on.type == "cuda":
        return torch.cuda.mem_get_info(on)[0]
    return max(0, min((_available(), *_left_in_groups(), *_left_of_limits())))


def _available() -> int:
    found = _lines(Path("/proc/meminfo")).get("MemAvailable")
    return found if found is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_groups() -> Iterator[int]:
    """What each control group above the process leaves, of the second version or the first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                home, names = (
                    (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
                    if controllers
                    else (Path("/sys/fs/cgroup"), ("memory.max", "memory.current"))
                )
                own = home / path.strip("/")
                for group in (own, *own.parents):
                    if group.is_relative_to(home):
                        yield from left_in(group, *names)


def left_in(group: Path, limit: str, usage: str) -> Iterator[int]:
    """What a group leaves, by the names of its two files; nothing where it sets no limit.

    Pages of files count as used, and are given up when memory is asked for.
    """
    with suppress(OSError, ValueError):  # No such file, or "max".
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
        yield int((group / limit).read_text()) - int((group / usage).read_text()) + files


def _left_of_limits() -> Iterator[int]:
    used = _lines(Path("/proc/self/status"))
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and name in used:
            yield most - used[name]


def _lines(path: Path) -> dict[str, int]:
    """The `Name:  12 kB` lines of a file of /proc, in bytes; nothing where there is no such file."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in words if line[2:] == ["kB"]}
