"""Who is compared: bertwright in two ways of using it, and transformers' Trainer in four."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from ...errors import RecipeError, RunError
from ..shipped import DEFAULT
from .rows import Grouped, Lines, Rows

OURS = {"bertwright": None, "bertwright-recipe": DEFAULT}
"""Ours by name, with the recipe of each: plain AdamW as the others have it, and the default one, on their architecture.
"""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of using transformers' Trainer."""

    says: str
    rows: type[Rows]
    batch_size: int
    best_flags: bool = False
    """bf16 where the hardware has it, compiled, fused AdamW, and bertwright's rate and warm-up instead of 5e-5."""
    keeps_memory: bool = False
    """With bertwright's settings of the C library's allocator."""


WAYS = {
    "trainer-lines": Way(says="its defaults, a sentence a row, padded to the length", rows=Lines, batch_size=8),
    "trainer-grouped": Way(says="its defaults, text cut into blocks as in run_mlm", rows=Grouped, batch_size=8),
    "trainer-best": Way(says="blocks, bf16 if there is, torch.compile", rows=Grouped, batch_size=32, best_flags=True),
    "trainer-best-memory": Way(
        says="the same with bertwright's allocator settings",
        rows=Grouped,
        batch_size=32,
        best_flags=True,
        keeps_memory=True,
    ),
}
NAMES = (*OURS, *WAYS)


def chosen(names: str) -> list[str]:
    """The contestants of a list with commas, in their usual order; all of them for an empty one.

    Raises RecipeError for an unknown name, and RunError where the Trainer cannot be used at all.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()] or list(NAMES)
    for name in asked:
        if name not in NAMES:
            raise RecipeError(f"unknown contestant {name!r}; known are {', '.join(NAMES)}")
    if set(asked) & set(WAYS) and find_spec("accelerate") is None:
        raise RunError(
            "transformers' Trainer needs the package accelerate: pip install 'bertwright[bench]', or use "
            f"--contestants {','.join(OURS)}"
        )
    return [name for name in NAMES if name in asked]


def cannot_run(names: Sequence[str]) -> dict[str, str]:
    """Those of them that this machine lacks something for, and what."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler):
        return {}
    why = f"torch.compile needs a C++ compiler, and there is no {compiler}"
    return {name: why for name in names if name in WAYS and WAYS[name].best_flags}
