"""A signature that near-duplicate texts share.

MinHash with one permutation (Broder, "On the resemblance and containment of documents", 1997): the smallest hash among
all windows of a text. Two texts have the same smallest hash with a probability equal to their resemblance, the share of
windows that they have in common, so what is decided by the signature is mostly decided alike for near-duplicates.
"""

from __future__ import annotations

import numpy as np

from ..seeds import mixed

WINDOW = 32
"""Bytes of UTF-8: about five words of English, ten Chinese characters."""
_SPACE = 0x20
_CJK = 0xE3
"""First UTF-8 byte of U+3000 and above: scripts without spaces, where each character begins a window."""
_CHUNK = 1 << 20


def signature(text: str) -> int:
    """64 bits; case and the amount of white space do not matter. A text shorter than a window is one window."""
    data = np.frombuffer(" ".join(text.casefold().split()).encode("utf-8", "replace"), np.uint8)
    if len(data) < WINDOW:
        data = np.pad(data, (0, WINDOW - len(data)))
    steps = range(0, len(data) - WINDOW + 1, _CHUNK)
    return min(_smallest(data[max(step - 1, 0) : step + _CHUNK + WINDOW - 1], bool(step)) for step in steps)


def _smallest(data: np.ndarray, has_before: bool) -> int:
    """The smallest hash of the windows in `data`; with `has_before`, its first byte only tells what came before."""
    begins = np.empty(len(data), bool)
    begins[0] = not has_before
    begins[1:] = (data[:-1] == _SPACE) | (data[1:] >= _CJK)
    starts = np.flatnonzero(begins[: len(data) - WINDOW + 1])
    if not len(starts):
        return 2**64 - 1
    windows = np.lib.stride_tricks.sliding_window_view(data, WINDOW)[starts].view("<u8")
    hashes = np.zeros(len(starts), np.uint64)
    for column in windows.T:
        hashes = mixed(hashes ^ column)
    return int(hashes.min())
