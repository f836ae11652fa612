"""Next-sentence prediction: does the second segment follow the first, or is it from another document?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..flow import Document
from .pairs import PairTask, Segments


@dataclass(frozen=True, kw_only=True)
class NextSentence(PairTask):
    """BERT's next-sentence prediction (Devlin et al., NAACL 2019). Label 0: is next, 1: is not.

    Segments are whole sentences that fill the length together; the share `short` of the pairs aims at a shorter length
    drawn at random. With the share `random` the second segment is taken from another document, and the sentences that
    it displaces are used for the next pair. What is too long is shortened at the longer segment, at either end at
    random.

    One thing differs from the published code: there, a passage that is a single sentence always gets a second segment
    from elsewhere, so that more than half of the labels are 1 and short first segments give the label away. Here a
    passage has at least two sentences, and a document's last, single one is cut in two.
    """

    needs_other_documents = True

    random: float = 0.5
    short: float = 0.1

    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        room = item.length - 3
        place = 0
        while place < len(item.sentences):
            wanted = int(rng.integers(2, room + 1)) if rng.random() < self.short else room
            passage = _passage(item.sentences, place, wanted)
            if not passage:
                return
            border = int(rng.integers(1, len(passage)))
            used = len(passage)
            first, second, label = np.concatenate(passage[:border]), np.concatenate(passage[border:]), 0
            if rng.random() < self.random:
                second, label = _elsewhere(item.other(rng), wanted - len(first), rng), 1
                used = border
            first, second = _shortened(first, second, room, rng)
            if len(first) and len(second):
                yield first, second, label
            place += used


def _passage(sentences: Sequence[np.ndarray], place: int, wanted: int) -> list[np.ndarray]:
    """Sentences from `place` on that reach `wanted` tokens, at least two; a lone last one comes in two halves."""
    passage: list[np.ndarray] = []
    tokens = 0
    # One by one: a slice of a store's document reads all that is left of it.
    for at in range(place, len(sentences)):
        if tokens >= wanted and len(passage) >= 2:
            break
        passage.append(sentences[at])
        tokens += len(passage[-1])
    if len(passage) == 1:
        half = len(passage[0]) // 2
        return [passage[0][:half], passage[0][half:]] if half else []
    return passage


def _elsewhere(sentences: Sequence[np.ndarray], wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Sentences of another document from a random one on, until they reach `wanted` tokens."""
    start = int(rng.integers(len(sentences)))
    end, tokens = start, 0
    while end < len(sentences) and (tokens < wanted or end == start):
        tokens += len(sentences[end])
        end += 1
    return np.concatenate(sentences[start:end])


def _shortened(first: np.ndarray, second: np.ndarray, room: int, rng: np.random.Generator) -> Segments:
    """Both segments within `room` tokens: the longer one gives, token by token, from either end by chance."""
    excess = len(first) + len(second) - room
    if excess <= 0:
        return first, second
    gap = len(first) - len(second)
    from_longer = min(excess, abs(gap))
    rest = excess - from_longer
    cut_first = (from_longer if gap > 0 else 0) + (rest + 1) // 2
    cut_second = excess - cut_first
    return _trimmed(first, cut_first, rng), _trimmed(second, cut_second, rng)


def _trimmed(segment: np.ndarray, excess: int, rng: np.random.Generator) -> np.ndarray:
    front = int(rng.binomial(excess, 0.5))
    return segment[front : len(segment) - (excess - front)]
