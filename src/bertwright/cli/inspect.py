"""`bertwright inspect PATH [--verify]`: what a store, a run or a checkpoint is, and where it comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import RecipeError
from . import options


def inspect(
    path: Annotated[str, typer.Argument(help="A token store, a run, or a Hugging Face checkpoint.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Load a checkpoint with plain transformers, and compare what it answers.")
    ] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Say what a path is and where it comes from."""
    from ..run.inspection import inspected

    found = inspected(path)
    if verify:
        if found.facts["kind"] == "store":
            raise RecipeError(f"{path} is a token store; --verify is for checkpoints and runs")
        from ..run.verifying import verified

        compared = verified(path)
        found = found.with_more(compared.text, verified=compared.facts)
    typer.echo(json.dumps(found.facts, ensure_ascii=False, indent=1) if as_json else found.text)
