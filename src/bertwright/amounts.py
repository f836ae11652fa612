"""Numbers of things, as people read them."""

from __future__ import annotations


def amount(number: int, thing: str, things: str = "") -> str:
    """`1 row`, `1,021 rows`; `things` where it is not `thing` with an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def were(number: int) -> str:
    """What happened to so many: `was` to one, `were` to others."""
    return "was" if number == 1 else "were"
