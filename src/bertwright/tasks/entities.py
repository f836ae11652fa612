"""Entities as tags spell them, counted as the CoNLL script `conlleval` does (Tjong Kim Sang & Buchholz, 2000)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

_INSIDE = re.compile("[BIESLU](-.+)?")
_SAME = {"L": "E", "U": "S"}


class Entity(NamedTuple):
    kind: str
    """"" where tags name none."""
    start: int
    end: int
    """The first token after it."""


def of_entities(tags: Collection[str]) -> bool:
    """Whether tags are those of entities: `O`, and `B`, `I`, `E` or `S`, with a kind behind `-` or without one.

    `L` and `U`, the last and the only token, are other names of `E` and `S`.
    """
    return any(map(_INSIDE.fullmatch, tags)) and all(tag == "O" or _INSIDE.fullmatch(tag) for tag in tags)


def completed(tags: Collection[str]) -> set[str]:
    """The tags; where they are those of entities, with `B` and `I` of every kind, seen or not."""
    if not of_entities(tags):
        return {*tags}
    return {*tags, *(f"{place}{tag[1:]}" for tag in tags if tag != "O" for place in "BI")}


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The entities of a sentence; an `I-` that goes on with nothing begins one."""
    kind, start = None, 0
    for at, tag in enumerate((*tags, "O")):
        place, own = _read(tag)
        if kind is not None and (place in "OBS" or own != kind):
            yield Entity(kind, start, at)
            kind = None
        if kind is None and place != "O":
            kind, start = own, at
        if kind is not None and place in "ES":
            yield Entity(kind, start, at + 1)
            kind = None


def matched(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> tuple[int, int, int]:
    """Over sentences of (true, said) tags: how many entities are true, said, and both."""
    true = said = both = 0
    for ours, theirs in pairs:
        one, other = {*entities(ours)}, {*entities(theirs)}
        true, said, both = true + len(one), said + len(other), both + len(one & other)
    return true, said, both


def _read(tag: str) -> tuple[str, str]:
    """Where a token stands, one of `OBIES`, and in what kind of entity."""
    return (_SAME.get(tag[0], tag[0]), tag[2:]) if _INSIDE.fullmatch(tag) else ("O", "")
