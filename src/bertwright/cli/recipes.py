"""From options to a recipe, and the run of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REPLACED = {
    "train": {"steps": ("epochs", "budget"), "epochs": ("steps", "budget"), "budget": ("steps", "epochs"),
              "batch_size": ("start_batch_size",)},
    "data": {"length": ("start_length",)},
}  # fmt: skip
"""What a setting of a recipe gives way to when another one is given."""


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


def laid_over(tables: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's tables with what was given in place of theirs, and of what goes with theirs."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
    for name, replaced in _REPLACED.items():
        gone = {other for setting in given.get(name, {}) for other in replaced.get(setting, ())}
        if gone & merged.get(name, {}).keys():
            merged[name] = {key: value for key, value in merged[name].items() if key not in gone}
    if "task" in given:
        parts = given["task"].split("+")
        merged["tasks"] = {name: table for name, table in merged.get("tasks", {}).items() if name in parts}
    for key, value in given.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


def carry_out(tables: Mapping[str, Any], sets: list[str] | None, as_json: bool) -> None:
    """Runs the recipe under a progress bar; a signal ends it after the step at hand, with a checkpoint."""
    from ..run.run import Stop, run
    from ..run.spec import Recipe, overridden
    from .terminal import Terminal, ending_on_signals, print_run

    recipe = Recipe.of(overridden(tables, tuple(sets or ())))
    with Terminal(quiet=as_json) as terminal, ending_on_signals(Stop()) as stop:
        home = run(recipe, terminal, stop)
    print_run(home, as_json)
