"""Next-sentence prediction: does the second segment follow the first, or is it from another document?"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..flow import Document
from .pairs import PairTask, aimed_at, check_shares, crossed, trimmed

_DRAWS = 4
Choose = Callable[[list[int]], int]
"""From the lengths that a first segment can have, ascending, to the number of one of them."""


@dataclass(frozen=True, kw_only=True)
class NextSentence(PairTask):
    """BERT's next-sentence prediction (Devlin et al., NAACL 2019). Label 0: is next, 1: is not.

    A passage of the document fills the length, with the share `short` one drawn at random, and is cut in two where one
    of its sentences begins; it has at least two, but for a document's last, single one, which is cut in the middle.
    With the share `random` the second segment is from another document.

    What differs from the published code is what gave the label away there to anybody who saw how long the segments are
    and where they begin and end. There the first segment was always the document's, and the second as long as it
    happened to be: in short documents one from elsewhere was shorter, one of a passage's own ended with its document,
    and a passage of a single sentence always got one from elsewhere. Here a passage of another document is drawn for
    every pair, and both second segments are cut to the length of the shorter. Of the two passages come two pairs that
    belong together and two that do not; the label says which two, and one of them is taken, either as likely. So
    whatever is true of a segment by itself is true as often under the one label as under the other.
    """

    needs_other_documents = True

    random: float = 0.5
    short: float = 0.1

    def __post_init__(self) -> None:
        check_shares(self, "random", "short")

    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        place = 0
        while place < len(item.sentences):
            wanted = aimed_at(item.length - 3, self.short, rng)
            mine = passage(item.sentences, place, wanted, lambda lengths: int(rng.integers(len(lengths))))
            if mine is None:
                return
            apart = rng.random() < self.random
            other = _other(item, mine, wanted, rng) if self.random else mine
            if other is None:
                return
            tokens = min(len(mine.second), len(other.second))
            both = [(trimmed(one.first, wanted - tokens, rng), one.second[:tokens]) for one in (mine, other)]
            yield *crossed(*both, apart=apart, rng=rng), int(apart)
            place = mine.border if apart else mine.end


class Passage(NamedTuple):
    """Two segments that belong together, and where in their document the second begins and where it ends."""

    first: np.ndarray
    second: np.ndarray
    border: int
    """The first sentence that is not in the first segment."""
    end: int
    """The first sentence that is not all in the passage."""


def passage(sentences: Sequence[np.ndarray], place: int, wanted: int, choose: Choose) -> Passage | None:
    """At most `wanted` tokens from a sentence on, cut where one of the sentences that begin in it does.

    A first sentence that fills it alone leaves half of it to what follows, and a last one is cut in two. `choose` is
    given the lengths that the first segment can have, ascending, and returns which. None for a last sentence of a
    single token.
    """
    taken, number_of_sentences = [sentences[place]], len(sentences)
    ends = [len(taken[0])]
    enough = max(wanted, ends[0] + wanted // 2)
    # One by one: a slice of a store's document reads all that is left of it.
    while ends[-1] < enough and place + len(taken) < number_of_sentences:
        taken.append(sentences[place + len(taken)])
        ends.append(ends[-1] + len(taken[-1]))
    if halved := len(taken) == 1:
        half = ends[0] // 2
        if not half:
            return None
        taken, ends = [taken[0][:half], taken[0][half:]], [half, ends[0]]
    number = choose(ends[: max(1, bisect_left(ends, wanted, hi=len(ends) - 1))]) + 1
    before = ends[number - 1]
    size = wanted - before if before < wanted else wanted // 2
    first, second = np.concatenate(taken[:number]), np.concatenate(taken[number:])[:size]
    if halved:
        return Passage(first, second, place + 1, place + 1)
    return Passage(first, second, place + number, place + bisect_right(ends, before + size))


def _other(item: Document, mine: Passage, wanted: int, rng: np.random.Generator) -> Passage | None:
    """A passage of another document, cut so that its second segment is as long; of a few draws the longest.

    None where nothing but single tokens is found.
    """

    def like_mine(lengths: list[int]) -> int:
        return max(0, bisect_right(lengths, len(mine.first)) - 1)

    longest = None
    for _ in range(_DRAWS):
        sentences, at = item.elsewhere(rng)
        found = passage(sentences, at, wanted, like_mine)
        if found is not None and (longest is None or len(found.second) > len(longest.second)):
            longest = found
        if longest is not None and len(longest.second) >= len(mine.second):
            break
    return longest
