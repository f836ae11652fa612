"""From options to a recipe, and the run of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """`{"train.lr": 1e-3, "seed": 1}` as nested tables; what is None was not given."""
    tables: dict[str, Any] = {}
    for path, value in given.items():
        if value is None:
            continue
        *parents, last = path.split(".")
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return tables


def carry_out(tables: Mapping[str, Any], sets: list[str] | None, as_json: bool) -> None:
    """Runs the recipe under a progress bar; a signal ends it after the step at hand, with a checkpoint."""
    from ..run.run import Stop, run
    from ..run.spec import Recipe, overridden
    from .terminal import Terminal, ending_on_signals, print_run

    recipe = Recipe.of(overridden(tables, tuple(sets or ())))
    with Terminal(quiet=as_json) as terminal, ending_on_signals(Stop()) as stop:
        home = run(recipe, terminal, stop)
    print_run(home, as_json)


def carry_out_seeds(tables: Mapping[str, Any], sets: list[str] | None, number: int, as_json: bool) -> None:
    """As `carry_out`, from several seeds, with a table of what they came to."""
    from ..run.run import Stop
    from ..run.several import several, written
    from ..run.spec import Recipe, overridden
    from .terminal import Terminal, ending_on_signals

    recipe = Recipe.of(overridden(tables, tuple(sets or ())))
    with Terminal(quiet=as_json) as terminal, ending_on_signals(Stop()) as stop:
        summary = several(recipe, number, terminal, stop)
    print(json.dumps(summary.facts(), ensure_ascii=False) if as_json else "\n".join(written(summary)))
