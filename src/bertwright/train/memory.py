"""How the process gets memory for its tensors."""

from __future__ import annotations

import ctypes

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
