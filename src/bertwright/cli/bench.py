"""`bertwright bench [INPUT... | --store STORE]`: side by side with transformers' Trainer, on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import RecipeError
from . import options

if TYPE_CHECKING:
    from .terminal import Terminal

REVIEWS = 6000
"""How many film reviews are read where no text is given: 1.8 M tokens, prepared in some twenty seconds."""


def bench(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Text to train on; film reviews where none is given.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="A token store instead of text.")] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The folder for bench.json, bench.png and the store of the text.")
    ] = Path("bertwright-bench"),
    size: Annotated[str, typer.Option(help="tiny, mini, small, medium, base or large.")] = "mini",
    arch: Annotated[str, typer.Option(help="The architecture.")] = "bert",
    length: options.Length = None,
    batch_size: Annotated[int, typer.Option(help="bertwright's examples a step; the others have their own.")] = 64,
    objective: Annotated[str, typer.Option(help="bertwright's, as in mlm+nsp; the others train mlm.")] = "mlm",
    dropout: Annotated[float, typer.Option(help="Of both sides.")] = 0.0,
    contestants: Annotated[str, typer.Option(help="Some of them, with commas; see docs/bench.md.")] = "",
    rounds: Annotated[int, typer.Option(help="How many times each is timed.")] = 3,
    steps: Annotated[int, typer.Option(help="Timed steps a round.")] = 4,
    seconds: Annotated[float, typer.Option(help="Training of each for loss against time; 0: none.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides every draw.")] = 1,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare speed, memory and learning with transformers' Trainer."""
    if inputs and store:
        raise RecipeError("bench takes either text or --store, not both")
    from ..run.bench.contest import compete
    from ..run.bench.contestants import chosen
    from ..run.bench.entry import Lengths
    from ..run.bench.workload import Workload
    from .terminal import Terminal

    names, lengths = chosen(contestants), Lengths(rounds=rounds, steps=steps, seconds=seconds)
    workload = Workload(
        store=store or str(out / "store"),
        arch=arch,
        size=size,
        length=128 if length is None else length,
        batch_size=batch_size,
        objective=objective,
        dropout=dropout,
        seed=seed,
    )
    workload.check()
    if out.exists() and not out.is_dir():
        raise RecipeError(f"--out {out}: a file; name a folder")
    with Terminal(quiet=as_json) as terminal:
        if not store:
            _prepare(inputs, out, terminal)
        result = compete(workload, lengths, names, terminal)
        _write(result, out, terminal)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)
        typer.echo(f"\nAll of it is in {out / 'bench.json'}; how to read it, in docs/bench.md.")


def _prepare(inputs: list[str] | None, out: Path, terminal: Terminal) -> None:
    from ..data.prepare import prepare
    from ..run.quickstart import materials
    from ..text.sources import find_sources

    if not inputs:
        materials(out / "text", REVIEWS)
        inputs = [str(out / "text" / "reviews.jsonl")]
    find_sources(inputs)  # What is not there is refused before a folder is made.
    prepare(inputs, out / "store", progress=terminal.bytes)


def _write(result: Mapping[str, Any], out: Path, terminal: Terminal) -> None:
    from ..files import write_text
    from ..run.bench.plot import can_plot, plot

    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "bench.json", json.dumps(result, indent=1) + "\n")
    if not result["lengths"]["seconds"]:
        return
    if can_plot():
        plot(result, out / "bench.png")
    else:
        terminal.say(f"No {out / 'bench.png'}: it needs matplotlib, pip install 'bertwright[bench]'.")


def _print(result: Mapping[str, Any]) -> None:
    """The table for people, and what its lines stand for."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    learned = ("loss", "after") if result["contestants"][0]["heldout"] else ()
    for head in ("tokens/s", "quartiles", "times", "of peak", "MiB", *learned):
        table.add_column(head, justify="right", no_wrap=True)
    first = result["contestants"][0]["tokens_per_second"]["median"]
    for entry in result["contestants"]:
        speed, memory = entry["tokens_per_second"], entry["peak_memory"]
        last = entry["heldout"][-1] if entry["heldout"] else None
        table.add_row(
            entry["name"],
            f"{speed['median']:,.0f}",
            f"{speed['lower']:,.0f}-{speed['upper']:,.0f}",
            f"{first / speed['median']:.2f}",
            f"{entry['mfu']:.1%}",
            f"{memory / 2**20:,.0f}" if memory else "",
            *([f"{last['loss']:.3f}", f"{last['seconds']:.1f} s"] if last else []),
        )
    # A file or a pipe has no width of its own, and rich would cut the numbers to fit 80 columns.
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    typer.echo("\n" + "\n".join(_legend(result)))


def _legend(result: Mapping[str, Any]) -> Iterator[str]:
    first, machine, work = result["contestants"][0], result["machine"], result["workload"]
    for entry in result["contestants"]:
        yield f"{entry['name']}: {entry['says']}; first step after {entry['first_step_seconds']:.1f} s"
    for name, why in result["left_out"].items():
        yield f"{name}: left out, {why}"
    yield f"times: {first['name']}'s tokens/s over theirs; real tokens, without padding"
    yield f"of peak: useful arithmetic over {result['peak_flops'] / 1e9:,.0f} GFLOP/s, the best matrix product met"
    if first["heldout"]:
        yield f"loss: held-out masked LM after a training of about {result['lengths']['seconds']:g} s"
    yield (
        f"{work['arch']} {work['size']}, sequences of up to {work['length']}, vocabulary "
        f"{result['text']['vocabulary']:,}, dropout {work['dropout']:g}; {machine['processor']}, "
        f"threads: {machine['threads']}"
    )
