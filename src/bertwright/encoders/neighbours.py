"""Positions and heads that know the neighbours from the first step, of which the law `local` is made.

A position p stands in the table as pairs a [sin w p, cos w p] (Vaswani et al., "Attention is all you need", 2017). A
head with offset o copies the n = d / 2 fastest pairs into its queries, and into its keys turned by -o, both with gain
g. The turn makes of p_j what stands at j - o, so the share of the positions in the score of (i, j) is

    g^2 a'^2 n / sqrt(d) kappa(j - i - o),    kappa(x) = mean of cos w x over the n pairs,

which is largest, kappa = 1, at j = i + o. a' is the amplitude behind the embeddings' LayerNorm, where word and segment
take part in the sum: a'^2 = a^2 / (s_word^2 + s_segment^2 + a^2 / 2) = 0.84 for a of 1.5 deviations, the others being
normals cut at two. So with g = 2 and d = 64 the neighbour leads a position of kappa = 0 by 13.5.

Words and segments lie in the same columns and add noise to a score, of deviation 0.73 g^2, whatever the width. The lead
is therefore 4.6 deviations of noise at any gain: the gain says how peaked attention is, not how often it errs. That
ratio goes with sqrt(d), so heads narrower than about 32 see their neighbour through noise. What query and key share, a
token's own word or its segment, meets itself turned by o: up to 9 kappa(o) more for looking at oneself, and as much for
looking into one's own segment. So kappa has to be small at the offsets too. With the usual frequencies, from 1 down to
1 / 10000, kappa(1) is 0.7 to 0.94, and a head for the next token looks at its own.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor


class Neighbours(NamedTuple):
    """What the law `local` is made of; the defaults are the law."""

    amplitude: float = 1.5
    """Of the sinusoids, in deviations of the weights: 0.03 for BERT, which makes positions about as long as words."""
    gain: float = 2.0
    """Of query and key: the neighbour gets about 0.85 of the attention in rows of 128; with a gain of 1, 0.17."""
    layers: int = 2
    """How many, from the first on, have such heads: one is as good as two under Muon, and too few under AdamW."""
    offsets: tuple[int, ...] = (-1, 1, -2, 2)
    """The nearest first, as text depends most on those; one for each head, further heads stay random."""
    share: float = 1.0
    """Of a layer's heads, how many may look at neighbours where the offsets are more than that."""
    octaves: float = 2.5
    """How far the heads' pairs reach down from pi: wider, the next positions look alike; narrower, they recur."""

    def chosen(self, heads: int) -> tuple[int, ...]:
        """The offsets of a layer's first heads."""
        return self.offsets[: round(self.share * heads)]

    def table(self, positions: int, hidden: int, width: int) -> Tensor:
        """[positions, hidden or one less] of amplitude 1, the pairs for heads of `width` in front.

        From pi, where one position is the opposite of the next, the pairs fall by equal ratios: the heads' by `octaves`
        and the others to pi / positions, which tells the two ends of the table apart.
        """
        pairs = hidden // 2
        fast = self._fast(min(width // 2, pairs))
        slow = _falling(pi / 2**self.octaves, pi / positions, pairs - len(fast) + 1)[1:]
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * torch.cat((fast, slow))
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)

    def turn(self, width: int, offset: int) -> Tensor:
        """[2n, 2n] which turns the heads' pairs of position p into those of p - offset."""
        angles = self._fast(width // 2) * offset
        sin, cos = angles.sin(), angles.cos()
        return torch.block_diag(angles.new_empty(0, 0), *torch.stack((cos, -sin, sin, cos), -1).view(-1, 2, 2))

    def _fast(self, pairs: int) -> Tensor:
        return _falling(pi, pi / 2**self.octaves, pairs)


NEIGHBOURS = Neighbours()


def _falling(first: float, last: float, count: int) -> Tensor:
    """[count] from `first` to `last` by equal ratios"""
    return first * (last / first) ** torch.linspace(0, 1, count, dtype=torch.float64)
