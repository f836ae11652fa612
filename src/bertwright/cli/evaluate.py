"""`bertwright evaluate CHECKPOINT --store S | --input F | --minimal-pairs F`: how good a model is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RecipeError
from . import options


def evaluate(
    checkpoint: options.Checkpoint,
    store: Annotated[
        str | None, typer.Option(help="A token store: its held-out part is used, with fixed masks.")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="Labelled rows; repeatable.")] = None,
    text_field: options.LearnedTextField = None,
    label_field: options.LearnedLabelField = None,
    minimal_pairs: Annotated[
        list[str] | None, typer.Option(help="Rows with a good and a bad sentence, as in BLiMP; repeatable.")
    ] = None,
    examples: options.Examples = 0,
    length: options.LearnedLength = None,
    fast: Annotated[
        bool, typer.Option("--fast/--exact", help="Pairs: hide every 6th token at once, or one token a copy.")
    ] = False,
    pll: Annotated[
        str, typer.Option(help="Pairs: original, or within-word-l2r, which hides the rest of a word too.")
    ] = "original",
    out: Annotated[Path | None, typer.Option(help="Pairs: a file for the scores of each, as JSON lines.")] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on held-out text, on labelled rows or on minimal pairs."""
    if sum(map(bool, (store, inputs, minimal_pairs))) != 1:
        raise RecipeError(
            "evaluate takes one of --store, for a model of text, --input, for a model of rows, and --minimal-pairs"
        )
    named = {"text_field": text_field, "label_field": label_field}
    columns = {name: column for name, column in named.items() if column}
    if columns and not inputs:
        raise RecipeError("--text-field and --label-field are of labelled rows, --input")
    from ..text.formats import read_rows
    from .terminal import print_report

    if minimal_pairs:
        rows = chain.from_iterable(read_rows(file) for file in minimal_pairs)
        _judge_pairs(checkpoint, rows, pll, fast, out, as_json)
        return
    from ..run.answering import Answerer

    answerer = Answerer(checkpoint, length=length, columns=columns)
    if store:
        report = answerer.evaluate_store(store, examples)
    else:
        report = answerer.evaluate_rows(chain.from_iterable(read_rows(file) for file in inputs or ()))
    print_report(report, as_json)


def _judge_pairs(
    checkpoint: str, rows: Iterable[Mapping[str, Any]], pll: str, fast: bool, out: Path | None, as_json: bool
) -> None:
    from ..run.minimal_pairs import Judge, facts, pairs_of, save, table, written
    from ..train.memory import keep_memory
    from .terminal import Terminal

    if out is not None and not out.parent.is_dir():
        raise RecipeError(f"--out {out}: there is no folder {out.parent}")
    if out is not None and out.is_dir():
        raise RecipeError(f"--out {out}: a folder; name a file in it")
    keep_memory()
    judge = Judge(checkpoint, pll, fast)
    pairs = pairs_of(rows)
    with Terminal(quiet=as_json) as terminal:
        scored = judge(pairs, lambda done, total: terminal.bar("tokens read", done, total))
    if out is not None:
        save(out, scored)
    lines = table(scored)
    typer.echo(json.dumps(facts(lines, judge.method), ensure_ascii=False) if as_json else "\n".join(written(lines)))
