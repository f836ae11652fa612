"""`bertwright evaluate CHECKPOINT --store S | --input F`: measures on held-out text or on labelled rows."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from ..errors import RecipeError
from . import options


def evaluate(
    checkpoint: options.Checkpoint,
    store: Annotated[
        str | None, typer.Option(help="A token store: its held-out part is used, with fixed masks.")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="Labelled rows; repeatable.")] = None,
    examples: options.Examples = 0,
    length: options.Length = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on held-out text or on labelled rows."""
    if bool(store) == bool(inputs):
        raise RecipeError("evaluate takes either --store, for a model of text, or --input, for a model of rows")
    from ..run.answering import Answerer
    from ..text.formats import read_rows
    from .terminal import print_report

    answerer = Answerer(checkpoint, length=length)
    if store:
        report = answerer.evaluate_store(store, examples)
    else:
        report = answerer.evaluate_rows(chain.from_iterable(read_rows(file) for file in inputs or ()))
    print_report(report, as_json)
