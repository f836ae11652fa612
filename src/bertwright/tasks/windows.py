"""Long texts in windows that overlap, so that whatever is predicted has text on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """Tokens `start` to `end` of a text; those from `mine` to `mine_end` are nearer to no other window's middle."""

    start: int
    end: int
    mine: int
    mine_end: int


def windows(tokens: int, room: int, overlap: int) -> Iterator[Window]:
    """Windows of at most `room` tokens over all of a text; neighbours share `overlap` of them, less than `room`.

    Each token belongs to one window alone; a text without tokens has one window, which is empty.
    """
    start = mine = 0
    while start + room < tokens:
        end = start + room
        mine_end = end - overlap // 2
        yield Window(start, end, mine, mine_end)
        start, mine = end - overlap, mine_end
    yield Window(start, tokens, mine, tokens)
