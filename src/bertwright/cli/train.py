"""`bertwright train RECIPE.toml`: what `pretrain` and `finetune` are shorthand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .recipes import carry_out


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe in TOML.")],
    sets: options.Sets = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run a recipe."""
    from ..run.spec import load

    carry_out(load(recipe), sets, as_json)
