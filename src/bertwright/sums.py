"""Metrics as sums: what a batch reports adds over batches and ranks, and becomes a number once, at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

Sums = dict[str, Tensor]


def add(parts: Iterable[Mapping[str, Tensor]]) -> Sums:
    """Adds measures by name, in float64, in the order given."""
    whole: Sums = {}
    for part in parts:
        for name, value in part.items():
            value = value.detach().to(torch.float64)
            whole[name] = whole[name] + value if name in whole else value
    return whole


def ratio(part: Tensor, whole: Tensor) -> float:
    """part / whole, and 0 where there was nothing to count."""
    return float(part / whole) if float(whole) else 0.0


def occurrences(values: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
    """[size] how often each number below `size` is among the values [M], or the sum of their weights [M].

    It does not wait for an accelerator, as bincount does.
    """
    weights = torch.ones_like(values) if weights is None else weights
    return weights.new_zeros(size).scatter_add_(0, values, weights)


def correlation(moments: Tensor) -> float:
    """Pearson's correlation from the sums of 1, x, y, x², y² and xy, in float64 [6]; 0 where it is undefined."""
    n, x, y, xx, yy, xy = moments.tolist()
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    # What rounding leaves of equal numbers is no spread.
    if spread_x <= 1e-12 * n * xx or spread_y <= 1e-12 * n * yy:
        return 0.0
    return (n * xy - x * y) / sqrt(spread_x * spread_y)
