"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__

_DEBUG = "BERTWRIGHT_DEBUG"


def debugging() -> bool:
    """Whether errors come with a traceback."""
    return bool(os.environ.get(_DEBUG))


def _debug(asked: bool) -> None:
    if asked:
        os.environ[_DEBUG] = "1"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bertwright {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="The version, and nothing else.")
]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Out = Annotated[
    Path, typer.Option("--out", help="The folder of the run; the same command again goes on from where it is.")
]
Checkpoint = Annotated[str, typer.Argument(help="A run, a Hugging Face checkpoint folder, or a Hub name.")]
Seed = Annotated[int | None, typer.Option(help="Decides every draw; 1 by default.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting of the recipe, as in train.clip=0.5; repeatable.")
]
Steps = Annotated[int | None, typer.Option(help="How many optimizer steps.")]
Epochs = Annotated[float | None, typer.Option(help="How many times the data, instead of --steps.")]
Budget = Annotated[str | None, typer.Option(help="How long, as in 90s, 10m, 2h, instead of --steps.")]
BatchSize = Annotated[int | None, typer.Option(help="Examples an optimizer step.")]
Rate = Annotated[float | None, typer.Option("--lr", help="The peak learning rate.")]
Length = Annotated[int | None, typer.Option(help="The longest sequence in tokens; 128 by default.")]
LearnedLength = Annotated[
    int | None, typer.Option("--length", help="The longest sequence in tokens; by default what the model learned with.")
]
Freeze = Annotated[str | None, typer.Option(help="What does not train: encoder, embeddings, or a number of layers.")]
Init = Annotated[str | None, typer.Option(help="The law of drawing random weights: paper, local, normal or zeros.")]
Examples = Annotated[int, typer.Option(min=0, help="How many held-out examples; 0: all.")]
LearnedTextField = Annotated[
    str | None, typer.Option("--text-field", help="The column of the text; by default as in the rows it learned from.")
]
LearnedLabelField = Annotated[
    str | None,
    typer.Option("--label-field", help="The column of the label; by default as in the rows it learned from."),
]
TextField = Annotated[str | None, typer.Option(help="The column of the text; text by default.")]
LabelField = Annotated[str | None, typer.Option(help="The column of the label; label by default.")]
