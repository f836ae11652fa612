"""What a text says of its words before any training: how often each occurs, and beside which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .store import Part

WINDOW = 3
"""How far apart two tokens may stand."""
CONTEXTS = 2048
"""The commonest tokens, beside which all are counted: rarer ones add time and no knowledge."""
TOKENS = 4_000_000
"""How many of a longer text are counted: words that are not rare are known by then, in a second or two."""
CELLS = 1 << 27
"""Of 4 bytes, of a vocabulary so large that it is counted beside fewer."""
_STRETCH = 1 << 17


class Counts(NamedTuple):
    """How often tokens occur, and beside which others."""

    tokens: Tensor
    """[V] how often each occurs"""
    beside: Tensor
    """[V, C] how often each stands near the C commonest, one at a distance of d counting 1 / d"""


def sample(part: Part, tokens: int = TOKENS) -> list[np.ndarray]:
    """Stretches of ids from all over a part of a store, so many tokens at most."""
    number = -(-part.tokens // _STRETCH)
    borders = [part.tokens * i // number for i in range(number + 1)] if number else [0]
    share = min(1.0, tokens / max(1, part.tokens))
    return [part.stretch(a, a + int((b - a) * share)) for a, b in pairwise(borders)]


def contexts_of(vocab_size: int, contexts: int = CONTEXTS) -> int:
    """Beside how many tokens those of a vocabulary are counted at most."""
    return min(contexts, vocab_size, max(1, CELLS // vocab_size))


def count(stretches: Sequence[np.ndarray], vocab_size: int, contexts: int = CONTEXTS) -> Counts:
    """The counts of stretches of ids; neighbours are up to `WINDOW` apart, also across the ends of sentences."""
    parts = [torch.from_numpy(ids) for ids in stretches]
    occur = torch.zeros(vocab_size, dtype=torch.long)
    for ids in parts:
        occur += torch.bincount(ids, minlength=vocab_size)
    common = occur.argsort(descending=True, stable=True)[: contexts_of(vocab_size, contexts)]
    column = torch.full((vocab_size,), -1)
    column[common] = torch.arange(len(common))
    beside = torch.zeros(vocab_size * len(common))
    for ids in parts:
        _add_neighbours(beside, ids * len(common), column[ids])
    return Counts(occur.float(), beside.view(vocab_size, len(common)))


def _add_neighbours(beside: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Adds a stretch, whose tokens stand for cells from `rows` on, and as contexts for `columns`, or -1."""
    for distance in range(1, WINDOW + 1):
        for near, far in ((rows[:-distance], columns[distance:]), (rows[distance:], columns[:-distance])):
            cells = (near + far)[far >= 0]
            beside.scatter_add_(0, cells, torch.full(cells.shape, 1 / distance))
