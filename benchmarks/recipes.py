"""The shipped recipes at equal time: what each has learned of a store when its budget is over.

    python benchmarks/recipes.py STORE --out DIR --budget 5m [--seeds 1,2,3] [--size mini] [RECIPE ...]

A RECIPE is a shipped one's name or a TOML file; settings follow after commas, as in modern,train.batch_size=32. Each
trains from random weights for the budget, one after the other, in turns of one seed each. Printed: masked LM loss and
accuracy on held-out text, hidden alike for all (15 %), mean and half the range over the seeds; steps and tokens/s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from bertwright.cli.recipes import nested
from bertwright.run.provenance import Provenance
from bertwright.run.run import run
from bertwright.run.shipped import laid_over, tables_of
from bertwright.run.spec import Recipe, overridden

RECIPES = ("bert-2018", "roberta", "cramming", "modern", "few-words")


class Quiet:
    """Shows the held-out loss as it comes."""

    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        if (loss := numbers.get("heldout mlm.loss")) is not None:
            print(f"  {done} of {steps}: {loss:.3f}", flush=True)


def trained(spec: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """The held-out measures at the end of one run, with its steps and its speed."""
    name, *sets = spec.split(",")
    home = args.out / f"{spec}-{seed}".replace("/", "_")
    given = nested(
        {"out": str(home), "seed": seed, "data.store": args.store, "encoder.size": args.size}
        | {"train.budget": args.budget, "save.keep": 1}
    )
    run(Recipe.of(overridden(laid_over(tables_of(name), given), tuple(sets))), Quiet())
    lines = [json.loads(line) for line in (home / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    record = Provenance.read(home / "model")
    heldout = dict(record.heldout) if record else {}
    return {**heldout, "steps": max(line["step"] for line in lines), "tokens_per_second": statistics.median(speeds)}


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--size", default="mini")
    args = parser.parse_intermixed_args()
    results: dict[str, list[dict[str, float]]] = {spec: [] for spec in args.recipes}
    for seed in map(int, args.seeds.split(",")):
        for spec in args.recipes:
            print(spec, "seed", seed, flush=True)
            results[spec].append(trained(spec, seed, args))
    print(
        f"{args.budget} each, {time.strftime('%Y-%m-%d')}",
        "| recipe | held-out loss | masked right | steps | tokens/s |",
        sep="\n\n",
    )
    print("|---|--:|--:|--:|--:|")
    for spec, runs in results.items():
        loss, right = (spread([one[f"mlm.{what}"] for one in runs]) for what in ("loss", "accuracy"))
        steps, speed = (statistics.median(one[what] for one in runs) for what in ("steps", "tokens_per_second"))
        print(f"| {spec} | {loss} | {right} | {steps:,.0f} | {speed:,.0f} |")


if __name__ == "__main__":
    main()
