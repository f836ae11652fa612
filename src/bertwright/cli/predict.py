"""`bertwright predict CHECKPOINT --input F`: rows in, JSON lines out."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from . import options


def predict(
    checkpoint: options.Checkpoint,
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="Rows to label: .jsonl .csv .tsv .parquet .txt .conll .json, or -; repeatable."),
    ],
    text_field: options.LearnedTextField = None,
    length: options.LearnedLength = None,
    debug: options.Debug = False,
) -> None:
    """Label rows with a fine-tuned model."""
    from ..run.answering import Answerer
    from ..text.formats import read_rows
    from ..text.labelled import line_of

    rows = chain.from_iterable(read_rows(file) for file in inputs)
    columns = {"text_field": text_field} if text_field else {}
    for row in Answerer(checkpoint, length=length, columns=columns).predict(rows):
        typer.echo(line_of(row))
