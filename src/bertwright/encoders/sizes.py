"""Sizes by name: of BERT (Devlin et al. 2018) and of its small ones (Turc et al., "Well-read students", 2019)."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import RecipeError


class Size(NamedTuple):
    """How deep and how wide: heads are 64 wide, and the feed-forward layer is four times as wide as the encoder."""

    layers: int
    hidden: int

    @property
    def heads(self) -> int:
        return self.hidden // 64

    @property
    def intermediate(self) -> int:
        return 4 * self.hidden


SIZES = {
    "tiny": Size(2, 128),
    "mini": Size(4, 256),
    "small": Size(4, 512),
    "medium": Size(8, 512),
    "base": Size(12, 768),
    "large": Size(24, 1024),
}


def size_of(name: str) -> Size:
    """The size called `name`. Raises RecipeError for a name that is none."""
    if name not in SIZES:
        raise RecipeError(f"unknown size {name!r}; known are {', '.join(SIZES)}")
    return SIZES[name]
