"""`bertwright inspect PATH`: what a store, a run or a checkpoint is, and where it comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import options


def inspect(
    path: Annotated[str, typer.Argument(help="A token store, a run, or a Hugging Face checkpoint.")],
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what a path is and where it comes from."""
    from ..run.inspection import inspected

    found = inspected(path)
    typer.echo(json.dumps(found.facts, ensure_ascii=False, indent=1) if as_json else found.text)
