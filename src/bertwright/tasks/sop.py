"""Sentence-order prediction: do two neighbouring segments stand in the order of the text, or the other way round?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..flow import Document
from .pairs import PairTask, Segments, check_shares, trimmed

_BLUNT = 8


@dataclass(frozen=True, kw_only=True)
class SentenceOrder(PairTask):
    """ALBERT's sentence-order prediction (Lan et al., ICLR 2020). Label 0: in order, 1: swapped.

    A segment is the sentences from one on that reach half of the length, without what is too much, at either end by
    chance; the two follow each other in one document. What is left at its end, and is less than the length, is divided
    where one of its sentences begins. The share `swapped` of the pairs is turned round. A document of one sentence
    gives nothing.

    What differs from the published code keeps the order from being told by the ends of documents, where a title or a
    closing line always comes first or last: of a document of at least four sentences the first and the last are left
    out, and where a pair takes the first or the last that there is, each of its segments loses one to eight tokens, at
    most a quarter, at both ends. What remains is how texts are: where articles end in quotations, quotations tell.
    """

    swapped: float = 0.5

    def __post_init__(self) -> None:
        check_shares(self, "swapped")

    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        number = len(item.sentences)
        begin, end = (1, number - 1) if number >= 4 else (0, number)
        place = begin
        while end - begin >= 2 and place < end:
            # A sentence that is left over goes with the one before, which has had its pair.
            place = min(place, end - 2)
            (one, two), after = _neighbours(item.sentences, place, end, item.length - 3, rng)
            if place == begin or after == end:
                one, two = _blunted(one, rng), _blunted(two, rng)
            place = after
            yield (two, one, 1) if rng.random() < self.swapped else (one, two, 0)


def _neighbours(
    sentences: Sequence[np.ndarray], place: int, end: int, room: int, rng: np.random.Generator
) -> tuple[Segments, int]:
    """Two segments from a sentence on, of at most `room` tokens together, and the sentence after them."""
    half = room // 2
    one = _reaching(sentences, place, end - 1, half)
    two = _reaching(sentences, place + len(one), end, half)
    after = place + len(one) + len(two)
    if after < end:
        return (trimmed(np.concatenate(one), half, rng), trimmed(np.concatenate(two), half, rng)), after
    border = int(rng.integers(1, after - place))
    one, two = np.concatenate([*one, *two][:border]), np.concatenate([*one, *two][border:])
    sizes = (len(one), len(two)) if len(one) + len(two) <= room else (half, half)
    return (trimmed(one, sizes[0], rng), trimmed(two, sizes[1], rng)), end


def _reaching(sentences: Sequence[np.ndarray], place: int, end: int, least: int) -> list[np.ndarray]:
    """The sentences from one on, and before `end`, that have at least so many tokens together."""
    taken = [sentences[place]]
    tokens = len(taken[0])
    # One by one: a slice of a store's document reads all that is left of it.
    while tokens < least and place + len(taken) < end:
        taken.append(sentences[place + len(taken)])
        tokens += len(taken[-1])
    return taken


def _blunted(segment: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    most = min(_BLUNT, len(segment) // 4)
    front, back = rng.integers(min(1, most), most + 1, 2).tolist()
    return segment[front : len(segment) - back]
