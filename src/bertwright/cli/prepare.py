"""`bertwright prepare INPUT... --out STORE`: text to a tokenizer and a token store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from . import options


def prepare(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or -: .txt .jsonl .csv .tsv .parquet, .gz .zst.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder of the store.")],
    vocab_size: Annotated[
        int, typer.Option(help="Entries of the vocabulary, rounded up to a multiple of 64.")
    ] = 16_384,
    tokenizer: Annotated[
        str | None, typer.Option(help="Take this checkpoint's tokenizer instead of training one.")
    ] = None,
    lower_case: Annotated[bool, typer.Option(help="Do not tell A from a.")] = False,
    strip_accents: Annotated[bool, typer.Option(help="Do not tell é from e, nor й from и.")] = False,
    language: Annotated[str | None, typer.Option(help="A code such as en or ru; by default the script tells.")] = None,
    text_field: options.TextField = None,
    layout: Annotated[str, typer.Option(help="Of .txt files: auto, lines, prose or wrapped.")] = "auto",
    heldout: Annotated[float, typer.Option(help="The share of documents to judge by.")] = 0.01,
    strict: Annotated[bool, typer.Option(help="Refuse bytes that are not UTF-8 instead of replacing them.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Make a tokenizer and a token store of text."""
    from ..data.prepare import PrepareSettings
    from ..data.prepare import prepare as make
    from ..run.leaking import leaks
    from .terminal import Terminal, print_store

    settings = PrepareSettings(
        vocab_size=vocab_size,
        tokenizer=_folder_of(tokenizer) if tokenizer else None,
        lower_case=lower_case,
        strip_accents=strip_accents,
        language=language,
        text_field=text_field or "text",
        layout=layout,
        heldout=heldout,
        strict=strict,
    )
    with Terminal(quiet=as_json) as terminal:
        with _left_unmade(out):
            store = make(inputs, out, settings=settings, progress=terminal.bytes)
        told = leaks(store, lambda done, total: terminal.bar("judging pairs", done, total))
    print_store(store, told, as_json)


def _folder_of(tokenizer: str) -> str:
    """A token store's, which has one too, or a checkpoint's."""
    from ..encoders.folders import checkpoint_folder

    return tokenizer if (Path(tokenizer) / "manifest.json").is_file() else str(checkpoint_folder(tokenizer))


@contextmanager
def _left_unmade(out: Path) -> Iterator[None]:
    """An interrupt ends the process, and says what that leaves."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"bertwright: stopped; {out} was not made, and the same command begins anew.", file=sys.stderr)
        sys.exit(130)
