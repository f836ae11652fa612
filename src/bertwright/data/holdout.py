"""Which documents are held out for evaluation: a fixed choice by what the documents say, near-duplicates together."""

from __future__ import annotations

import numpy as np

from ..seeds import key_of, mixed


def held_out(signatures: np.ndarray, share: float, seed: int) -> np.ndarray:
    """[documents] bool: about `share` of the documents, and at least one where there are two and `share` is not 0.

    `signatures` [documents] uint64 are equal for near-duplicates (see `text.duplicates`). Groups of equal signature are
    taken whole, those with the smallest keyed hash first; one that would bring more than twice the share asked for, or
    more than half of the documents, is passed over, so nothing is held out where all documents are alike.
    """
    chosen = np.zeros(len(signatures), bool)
    if share == 0 or len(signatures) < 2:
        return chosen
    wanted = max(1, round(share * len(signatures)))
    most = min(2 * wanted, len(signatures) // 2)
    hashes = mixed(signatures ^ np.uint64(key_of(seed, "heldout")))
    keys, sizes = np.unique(hashes, return_counts=True)
    taken: list[np.uint64] = []
    count = 0
    for key, size in zip(keys, map(int, sizes), strict=True):
        if count >= wanted:
            break
        if count + size <= most:
            taken.append(key)
            count += size
    return np.isin(hashes, np.array(taken, np.uint64))
