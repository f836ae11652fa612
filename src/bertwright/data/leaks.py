"""What the label of a pair can be told from without reading it: its lengths and the tokens at its borders.

An objective on pairs of segments teaches a model to read only where reading is what it takes. Here a linear classifier
sees how long both segments are and the first and the last token of each, and nothing else; what it gets right beyond
one half, the objective gives away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F

from ..flow import Example
from ..seeds import generator

PAIRS = 20_000
"""How many pairs are looked at: as many as it takes to know one point from none, at two standard errors."""
_FOLDS = 4
_RARE = 8
_BINS = 32
_DECAY = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """How often the label was told right from lengths and borders alone, by classifiers that had not seen the pair."""

    right: int
    pairs: int
    commoner: int
    """How often the commoner label is right."""

    @property
    def share(self) -> float:
        return self.right / max(1, self.pairs)

    @property
    def error(self) -> float:
        """The standard error of `share` where nothing is told; half again a coin's: the quarters judge each other."""
        return 0.75 / sqrt(max(1, self.pairs))

    @property
    def excess(self) -> float:
        """What is told beyond one half, or beyond the commoner label where the labels are not even."""
        return self.share - max(0.5, self.commoner / max(1, self.pairs))


def told_without_reading(examples: Iterable[Example], label: str) -> Leak:
    """Judges examples of two segments with the labels 0 and 1 under the name `label`.

    Each quarter of them is judged by a logistic regression on the others.
    """
    examples = list(examples)
    if len(examples) < 2 * _FOLDS:
        return Leak(right=0, pairs=0, commoner=0)
    truth = np.array([example.labels[label] for example in examples])
    seen = _seen(examples)
    fold = generator("leaks").permutation(len(examples)) % _FOLDS
    right = 0
    for number in range(_FOLDS):
        judged = fold == number
        said = _told(seen[~judged], truth[~judged], seen[judged])
        right += int((said == truth[judged]).sum())
    ones = int(truth.sum())
    return Leak(right=right, pairs=len(examples), commoner=max(ones, len(examples) - ones))


def _seen(examples: list[Example]) -> np.ndarray:
    """[pairs, features] numbers below `features * 2**32`: which value each feature has."""
    borders, lengths = [], []
    for example in examples:
        # [CLS] first [SEP] second [SEP]
        second = int(np.searchsorted(example.segments, 1))
        ids, end = example.ids, len(example) - 1
        borders.append((ids[1], ids[second - 2], ids[second], ids[end - 1]))
        lengths.append((second - 2, end - second))
    first, second = np.array(lengths).T
    sizes = (_binned(first), _binned(second), _binned(first + second), _binned(first - second))
    columns = [*np.array(borders).T, *sizes, sizes[0] * _BINS + sizes[1]]
    return np.stack([_numbered(column) for column in columns], 1)


def _binned(values: np.ndarray) -> np.ndarray:
    """Which of some 32 equally filled bins each value is in."""
    edges = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))
    return np.searchsorted(edges, values, side="right")


def _numbered(values: np.ndarray) -> np.ndarray:
    """The values numbered from 0, the rare ones all as one."""
    _, number, count = np.unique(values, return_inverse=True, return_counts=True)
    common = np.flatnonzero(count >= _RARE)
    names = np.zeros(len(count), np.int64)
    names[common] = np.arange(1, len(common) + 1)
    return names[number]


def _told(seen: np.ndarray, truth: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """The labels of `judged`, by a logistic regression on `seen`: a weight for each value of each feature."""
    sizes = np.maximum(seen.max(0), judged.max(0)) + 1
    starts = np.cumsum(sizes) - sizes
    weights = torch.zeros(int(sizes.sum()) + 1, requires_grad=True)
    places, answers = torch.from_numpy(seen + starts), torch.from_numpy(truth).float()
    optimizer = torch.optim.LBFGS([weights], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scores = weights[places].sum(1) + weights[-1]
        loss = F.binary_cross_entropy_with_logits(scores, answers, reduction="sum") + _DECAY * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return (weights[torch.from_numpy(judged + starts)].sum(1) + weights[-1] > 0).long().numpy()
