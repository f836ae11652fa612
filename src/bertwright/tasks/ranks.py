"""Rank correlation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spearman(true: Sequence[float], said: Sequence[float]) -> float:
    """Spearman's rank correlation (1904), equal values sharing their mean rank; 0 where it is undefined."""
    x, y = (ranks(np.asarray(values, np.float64)) for values in (true, said))
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """[n] ranks from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
