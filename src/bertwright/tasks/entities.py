"""Entities as tags spell them, counted as the CoNLL script `conlleval` does (Tjong Kim Sang & Buchholz, 2000)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    kind: str
    start: int
    end: int
    """The first token after it."""


def of_entities(tags: Collection[str]) -> bool:
    """Whether tags are those of entities: `O`, and `B-`, `I-`, `E-` or `S-` with a kind."""
    return any(_is_inside(tag) for tag in tags) and all(tag == "O" or _is_inside(tag) for tag in tags)


def completed(tags: Collection[str]) -> set[str]:
    """The tags; where they are those of entities, with `B-` and `I-` of every kind, seen or not."""
    if not of_entities(tags):
        return {*tags}
    return {*tags, *(f"{place}-{tag[2:]}" for tag in tags if tag != "O" for place in "BI")}


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of a sentence; an `I-` that goes on with nothing begins one."""
    kind, start = "", 0
    for at, tag in enumerate((*tags, "O")):
        place, own = (tag[:1], tag[2:]) if _is_inside(tag) else ("O", "")
        if kind and (place in "OBS" or own != kind):
            yield Entity(kind, start, at)
            kind = ""
        if not kind and place != "O":
            kind, start = own, at
        if kind and place in "ES":
            yield Entity(kind, start, at + 1)
            kind = ""


def matched(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> tuple[int, int, int]:
    """Over sentences of (true, said) tags: how many entities are true, said, and both."""
    true = said = both = 0
    for ours, theirs in pairs:
        one, other = {*entities(ours)}, {*entities(theirs)}
        true, said, both = true + len(one), said + len(other), both + len(one & other)
    return true, said, both


def _is_inside(tag: str) -> bool:
    return len(tag) > 2 and tag[0] in "BIES" and tag[1] == "-"
