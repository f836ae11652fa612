"""`bertwright export CHECKPOINT --to onnx|sentence-transformers --out DIR`: a model for other programs, checked."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from . import options

_FORMATS = ("onnx", "sentence-transformers")


def export(
    checkpoint: options.Checkpoint,
    to: Annotated[str, typer.Option(help="onnx or sentence-transformers.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    int8: Annotated[bool, typer.Option("--int8", help="onnx: a second file with weights in 8 bits.")] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="onnx: labelled rows that the files are judged by; repeatable."),
    ] = None,
    length: options.LearnedLength = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a model as another program loads it, and compare what that answers."""
    if to not in _FORMATS:
        raise RecipeError(f"--to is {' or '.join(_FORMATS)}, not {to!r}")
    if to != "onnx" and (given := [n for n, x in {"--int8": int8, "--input": inputs, "--length": length}.items() if x]):
        raise RecipeError(f"{', '.join(given)} is for --to onnx")
    if not out.name:
        raise RecipeError(f"--out {out}: give a new folder a name")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"--out {out}: there is something already; choose a new folder")
    if to == "onnx":
        from ..run.onnx_export import export_onnx
        from ..text.formats import read_rows

        rows = chain.from_iterable(read_rows(file) for file in inputs) if inputs else None
        done = export_onnx(checkpoint, out, rows, int8=int8, length=length)
    else:
        from ..run.sentence_folder import export_sentences

        done = export_sentences(checkpoint, out)
    typer.echo(json.dumps(done.facts, ensure_ascii=False, indent=1) if as_json else done.text)
