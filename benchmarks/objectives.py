"""What each pretraining objective brings: the same time on the same text, then judged in the same ways.

    python benchmarks/objectives.py STORE TASKS --out DIR [--budget 10m] [--jobs 2] [OBJECTIVE ...]

An OBJECTIVE is a task of text or a sum of several; settings follow after commas, as in mlm,tasks.mlm.unit=word. TASKS
is a folder with trec/{train,test}.jsonl.gz, ud_en_ewt/{train,test}.jsonl.gz and blimp/test.jsonl.gz. Measured: held-out
masked words right, of BERT's masks; the objective's own accuracy beside what the commonest answer would get; pairs of
BLiMP that the fast form gets right (every tenth pair); test accuracy on TREC and the parts of speech of UD EWT from
`--rows` training rows, the mean and the half-width of its 95 % interval over the seeds. A last row is of random
weights. The table is in DIR/table.md after each objective; the same command again goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from side_by_side import Facts, sampled, side_by_side, threads_each

from bertwright.cli.recipes import nested
from bertwright.run.answering import Answerer
from bertwright.run.intervals import of_mean
from bertwright.run.minimal_pairs import Judge, pairs_of, table
from bertwright.run.provenance import Provenance
from bertwright.run.run import run
from bertwright.run.shipped import laid_over, recipe_for, tables_of
from bertwright.run.spec import Recipe, overridden
from bertwright.text.formats import read_rows

OBJECTIVES = (
    "mlm",
    "mlm,tasks.mlm.unit=word",
    "mlm,tasks.mlm.unit=span",
    "amlm",
    "mlm+bow",
    "mlm+nsp",
    "mlm+sop",
    "mlm+ssp",
    "rtd",
    "mntp",
)
RANDOM = "random weights"
DOWNSTREAM = {"trec": "classify", "ud_en_ewt": "tag"}
"""The task that learns from each set."""
EPOCHS = 3.0
EVERY = 10
COLUMNS = ("objective", "steps", "masked right", "own (commonest)", "BLiMP", "TREC", "UD EWT")


class Quiet:
    """Shows the held-out measures."""

    def __init__(self, name: str) -> None:
        self._name = name

    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        if heldout := {name: round(x, 4) for name, x in numbers.items() if name.startswith("heldout")}:
            print(f"  {self._name}: {done} of {steps}: {heldout}", flush=True)


def measured(spec: str, args: argparse.Namespace) -> Facts:
    """The cells of an objective's row, by column."""
    started = time.perf_counter()
    heldout, steps = pretrained(spec, args)
    spent = time.perf_counter() - started
    home = str(args.out / spec)
    if spec == RANDOM:
        cells = {"steps": "0"}
        begin = {"start": "scratch", "like": home}
    else:
        judged = right_of_blimp(args.out / spec / "model", args.tasks)
        cells = {"steps": f"{steps:,}", "masked right": masked(heldout), "own (commonest)": own(heldout)}
        cells["BLiMP"] = f"{judged:.1f}"
        begin = {"start": home}
    cells |= {
        column: downstream(begin, spec, name, args) for column, name in zip(COLUMNS[-2:], DOWNSTREAM, strict=True)
    }
    print(f"  {spec}: pretrained in {spent:.0f} s, judged in {time.perf_counter() - started - spent:.0f} s", flush=True)
    return cells


def pretrained(spec: str, args: argparse.Namespace) -> tuple[Mapping[str, float], int]:
    """The held-out measures of a model that learned by the objective for the budget, and after how many steps.

    Random weights are drawn anew for whatever learns from them; a run of one step gives them their shape.
    """
    objective, *sets = (OBJECTIVES[0] if spec == RANDOM else spec).split(",")
    given = {"out": str(args.out / spec), "task": objective, "data.store": args.store, "encoder.size": args.size}
    how_long = {"train.steps": 1} if spec == RANDOM else {"train.budget": args.budget}
    tables = laid_over(tables_of(args.recipe or recipe_for(objective)), nested(given | how_long | {"save.keep": 1}))
    run(Recipe.of(overridden(tables, tuple(sets))), Quiet(spec))
    record = Provenance.read(args.out / spec / "model")
    return record.heldout if record else {}, Recipe.read(args.out / spec / "recipe.toml").train.steps or 0


def masked(heldout: Mapping[str, float]) -> str:
    """Per cent of BERT's masks."""
    right = [heldout[f"{name}.accuracy"] for name in ("mlm", "amlm", "mntp") if f"{name}.accuracy" in heldout]
    return f"{100 * right[0]:.1f}" if right else ""


def own(heldout: Mapping[str, float]) -> str:
    """The accuracy of what is no masked LM in it, and that of its commonest answer."""
    for name in ("nsp", "sop", "ssp"):
        if f"{name}.accuracy" in heldout:
            return f"{100 * heldout[f'{name}.accuracy']:.1f} (50)"
    if "mntp.next_accuracy" in heldout:
        return f"{100 * heldout['mntp.next_accuracy']:.1f} ({100 * heldout['mntp.next_commonest']:.1f})"
    if "rtd.accuracy" in heldout:
        return f"{100 * heldout['rtd.accuracy']:.1f} ({100 * heldout['rtd.originals']:.1f})"
    return ""


def right_of_blimp(model: Path, tasks: Path) -> float:
    """Per cent of every tenth pair; of a model with a generator, by that."""
    pairs = pairs_of(islice(read_rows(tasks / "blimp" / "test.jsonl.gz"), 0, None, EVERY))
    generator = model / "generator"
    return 100 * table(Judge(str(generator if generator.is_dir() else model), fast=True)(pairs))[0].right.value


def downstream(start: Mapping[str, str], spec: str, name: str, args: argparse.Namespace) -> str:
    """Mean test accuracy in per cent, with the half of its interval."""
    homes = [(args.out / f"{spec}-{name}-{seed}", seed) for seed in range(1, args.seeds + 1)]
    mean = of_mean([finetuned(start, name, home, args, seed) for home, seed in homes])
    return f"{mean.value:.1f} ± {mean.high - mean.value:.1f}"


def finetuned(start: Mapping[str, str], name: str, home: Path, args: argparse.Namespace, seed: int) -> float:
    task, learned, judged = DOWNSTREAM[name], args.out / "rows" / name / "train.jsonl", args.tasks / name
    tables = {"out": str(home), "task": task, "seed": seed, "data": {"train": str(learned)}, "encoder": start}
    run(Recipe.of(tables | {"train": {"epochs": EPOCHS}}), Quiet(home.name))
    return 100 * Answerer(str(home)).evaluate_rows(read_rows(judged / "test.jsonl.gz"))[f"{task}.accuracy"]


def written(rows: Mapping[str, Facts], order: Sequence[str], args: argparse.Namespace) -> str:
    """The table as far as it goes."""
    how = f"{args.budget} each ({threads_each(args.jobs)}), {args.size}, recipe {args.recipe or 'of each'}"
    lines = [f"{how}; {args.rows} rows, {args.seeds} seeds downstream; {time.strftime('%Y-%m-%d')}", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" + "|--:" * (len(COLUMNS) - 1) + "|"]
    done = [{COLUMNS[0]: name, **rows[name]} for name in order if name in rows]
    return "\n".join([*lines, *(f"| {' | '.join(row.get(column, '') for column in COLUMNS)} |" for row in done), ""])


def asked() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("tasks", type=Path)
    parser.add_argument("names", nargs="*", default=OBJECTIVES, metavar="OBJECTIVE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--recipe", help="instead of what each objective starts from")
    parser.add_argument("--rows", type=int, default=2000, help="training rows of each set; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="so many objectives at a time, which share the threads")
    return parser.parse_intermixed_args()


def main() -> None:
    args = asked()
    for name in DOWNSTREAM:
        sampled(args.tasks / name / "train.jsonl.gz", args.rows, args.out / "rows" / name / "train.jsonl")
    order, rows = [*args.names, RANDOM], {}
    for name, facts in side_by_side(measured, order, args, args.jobs):
        rows[name] = facts
        (args.out / "table.md").write_text(written(rows, order, args), encoding="utf-8")
        print(f"| {name} | {' | '.join(facts.values())} |", flush=True)
    print("\n" + written(rows, order, args))


if __name__ == "__main__":
    main()
