"""What the machine can do at most, and what a process took of it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import torch

from ...train.precision import device, resolve

_SIZES = (768, 1024, 2048, 3072)


def matrix_peak(seconds: float = 1.0) -> float:
    """The best product of two square matrices that was met in `seconds`, in FLOP/s; bf16 where the hardware has it."""
    place = device()
    kind = torch.bfloat16 if resolve("auto", place) == "bf16" else torch.float32
    best = 0.0
    for size in _SIZES:
        left, right, out = (torch.randn(size, size, device=place).to(kind) for _ in range(3))
        torch.mm(left, right, out=out)
        end = time.perf_counter() + seconds / len(_SIZES)
        while (begin := settled()) < end:
            torch.mm(left, right, out=out)
            best = max(best, 2 * size**3 / (settled() - begin))
    return best


def settled() -> float:
    """The time, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory() -> int | None:
    """The most bytes that this process has held in memory so far; None where the system does not tell.

    Not `getrusage`, whose figure begins with what the parent process held when it forked.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
