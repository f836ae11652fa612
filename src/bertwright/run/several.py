"""The same run from several seeds: what it comes to on average, and how sure that is.

OUT/seed-1 ...          a run each
OUT/seeds.json          the measures of each, their means with intervals of 95 %, and which run is best
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import RecipeError, RunError
from ..files import write_text
from .choose import task_of
from .intervals import of_mean
from .provenance import Provenance
from .record import RunFolder
from .run import Show, Stop, run
from .spec import Recipe

FILE = "seeds.json"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What runs that differ in their seed came to, each list in the order of the seeds."""

    task: str
    seeds: list[int]
    runs: list[str]
    measures: Mapping[str, Mapping[str, Any]]
    """By name the `values`, their `mean`, and the `low` and `high` end of its interval; None for a single seed."""
    best: str
    """The run with the best held-out score."""

    def facts(self) -> dict[str, Any]:
        """As it goes into a file."""
        return asdict(self)


def several(recipe: Recipe, number: int, show: Show, stop: Stop | None = None) -> Summary:
    """Trains what the recipe says from `number` seeds, its own and those that follow, and sums it up.

    The same again goes on from where it is; a larger number adds runs. Raises RecipeError for a number below 1, and
    RunError when the folder holds a single run or nothing was held out to judge by.
    """
    home = Path(recipe.out)
    if number < 1:
        raise RecipeError(f"--seeds is a number of runs of at least 1, not {number}")
    if (home / "asked.toml").exists():
        raise RunError(f"{home} holds a single run; runs from several seeds need another --out")
    seeds, reports, scores = [*range(recipe.seed, recipe.seed + number)], [], []
    for seed in seeds:
        show.say(f"Seed {seed}, {seed - recipe.seed + 1} of {number}.")
        one = replace(recipe, seed=seed, out=str(home / f"seed-{seed}"))
        run(one, show, stop)
        report, score = _result(one)
        reports.append(report)
        scores.append(score)
    folders = [str(home / f"seed-{seed}") for seed in seeds]
    best = folders[scores.index(max(scores))]
    summary = Summary(task=recipe.task, seeds=seeds, runs=folders, measures=_measures(reports), best=best)
    write_text(home / FILE, json.dumps(summary.facts(), ensure_ascii=False, indent=1) + "\n")
    return summary


def _result(recipe: Recipe) -> tuple[Mapping[str, float], float]:
    folder = RunFolder(recipe)
    record, resolved = Provenance.read(folder.home / "model"), folder.resolved()
    if record is None or resolved is None or not record.heldout:
        raise RunError(
            f"{folder.home} was judged by nothing, so seeds cannot be compared; give rows to judge by: --dev"
        )
    return record.heldout, task_of(resolved.task, resolved.tasks).score(record.heldout)


def _measures(reports: list[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in reports[0]:
        values = [report[name] for report in reports]
        mean, *ends = of_mean(values)
        low, high = (end if isfinite(end) else None for end in ends)
        found[name] = {"mean": mean, "low": low, "high": high, "values": values}
    return found


def written(summary: Summary) -> Iterator[str]:
    """The table for people."""
    width = max(map(len, summary.measures))
    yield f"{'':<{width}}  {'mean':>8}  {'95 % interval':<20}" + "".join(f"{f'seed {s}':>10}" for s in summary.seeds)
    for name, found in summary.measures.items():
        interval = "" if found["low"] is None else f"{found['low']:.4f} to {found['high']:.4f}"
        yield f"{name:<{width}}  {found['mean']:8.4f}  {interval:<20}" + "".join(f"{v:10.4f}" for v in found["values"])
    yield f"best: {summary.best}"
