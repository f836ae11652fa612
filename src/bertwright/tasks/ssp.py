"""Same-sentence prediction: are the two segments the halves of one sentence?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RecipeError
from ..flow import Document
from .pairs import PairTask, Segments, check_shares, crossed

_AROUND = 8


@dataclass(frozen=True, kw_only=True)
class SameSentence(PairTask):
    """Same-sentence prediction (Sonmezoz and Amasyali, ASYU 2021). Label 1: the same, 0: not.

    A sentence is cut in two halves of tokens, the second with the odd one; with the share `random` a half is of a
    sentence of another document. A sentence with halves shorter than `shortest` tokens is taken together with those
    that follow it, and one that is longer than the length ends there.

    The published code gives some labels away: halves of less than five tokens are never replaced, and what replaces a
    half may be shorter. Here the sentence from elsewhere is drawn for every pair, of a few the one nearest in length,
    and both first halves are cut to the shorter. Of the two sentences come two pairs that belong together and two that
    do not; the label says which two, and one of them is taken, either as likely. So whatever is true of a half by
    itself is true as often under the one label as under the other.
    """

    needs_other_documents = True

    random: float = 0.5
    shortest: int = 5

    def __post_init__(self) -> None:
        check_shares(self, "random")
        if self.shortest < 1:
            raise RecipeError(f"ssp.shortest is a number of tokens of at least 1, not {self.shortest}")

    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        place, room = 0, item.length - 3
        while place < len(item.sentences):
            whole, place = _long_enough(item.sentences, place, 2 * self.shortest)
            if len(whole) < 2:
                return
            apart = rng.random() < self.random
            other = self._other(item, len(whole[:room]), rng) if self.random else whole[:room]
            if other is None:
                continue
            tokens = min(len(whole[:room]), len(other)) // 2
            both = [_halves(one, tokens) for one in (whole[:room], other)]
            yield *crossed(*both, apart=apart, rng=rng), int(not apart)

    def _other(self, item: Document, length: int, rng: np.random.Generator) -> np.ndarray | None:
        """Of a few sentences around a place elsewhere the one whose length is nearest; None: none has two halves."""
        sentences, place = item.elsewhere(rng)
        place = max(0, place - _AROUND // 2)
        found: list[np.ndarray] = []
        while place < len(sentences) and len(found) < _AROUND:
            whole, place = _long_enough(sentences, place, 2 * self.shortest)
            found.append(whole[: item.length - 3])
        halved = (one for one in found if len(one) >= 2)
        return min(halved, key=lambda one: abs(len(one) - length), default=None)


def _long_enough(sentences: Sequence[np.ndarray], place: int, least: int) -> tuple[np.ndarray, int]:
    """A sentence, with those that follow it until there are `least` tokens, and the place after it."""
    taken = [sentences[place]]
    tokens = len(taken[0])
    while tokens < least and place + len(taken) < len(sentences):
        taken.append(sentences[place + len(taken)])
        tokens += len(taken[-1])
    return np.concatenate(taken), place + len(taken)


def _halves(sentence: np.ndarray, tokens: int) -> Segments:
    """So many tokens of the first half, and the second half."""
    return sentence[:tokens], sentence[len(sentence) // 2 :]
