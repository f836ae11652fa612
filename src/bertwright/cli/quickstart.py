"""`bertwright quickstart`: the whole way on real text, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def quickstart(
    out: Annotated[Path, typer.Option("--out", help="The folder for everything it makes.")] = Path(
        "bertwright-quickstart"
    ),
    budget: Annotated[str, typer.Option(help="How long to pretrain, as in 90s or 3m.")] = "3m",
    size: Annotated[
        str | None, typer.Option(help="The size of the encoder; by default mini, or tiny without bf16 in hardware.")
    ] = None,
    reviews: Annotated[
        int, typer.Option(min=0, help="How many of the 25,000 reviews to read, and of the sentences; 0: all.")
    ] = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Prepare, pretrain, fill masks, fine-tune and compare, on film reviews."""
    from ..run.quickstart import quickstart as go
    from ..run.run import Stop
    from .terminal import Terminal, ending_on_signals, print_learned

    with Terminal(quiet=as_json) as terminal, ending_on_signals(Stop()) as stop:
        learned = go(out, budget=budget, size=size, reviews=reviews, show=terminal, stop=stop)
    print_learned(learned, as_json)
