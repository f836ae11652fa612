"""What each pretraining objective brings: the same time on the same text, then judged in the same ways.

    python benchmarks/objectives.py STORE TASKS --out DIR [--budget 10m] [--recipe modern] [OBJECTIVE ...]

An OBJECTIVE is a task of text or a sum of several; settings follow after commas, as in mlm,tasks.mlm.unit=word. TASKS
is a folder with trec/{train,test}.jsonl.gz, ud_en_ewt/{train,dev,test}.jsonl.gz and blimp/test.jsonl.gz. Printed:
held-out masked words right, of BERT's masks; the objective's own accuracy beside what the commonest answer would get;
pairs of BLiMP that the fast form gets right (every tenth pair); test accuracy on TREC and the parts of speech of UD
EWT, the mean and the half-width of its 95 % interval over three seeds. A first row is of random weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from bertwright.cli.recipes import nested
from bertwright.run.answering import Answerer
from bertwright.run.intervals import of_mean
from bertwright.run.minimal_pairs import Judge, pairs_of, table
from bertwright.run.provenance import Provenance
from bertwright.run.run import run
from bertwright.run.shipped import DEFAULT, laid_over, tables_of
from bertwright.run.spec import Recipe, overridden
from bertwright.text.formats import read_rows

OBJECTIVES = (
    "mlm",
    "mlm,tasks.mlm.unit=word",
    "mlm,tasks.mlm.unit=span",
    "amlm",
    "mlm+nsp",
    "mlm+sop",
    "mlm+ssp",
    "mlm,encoder.arch=bert",
    "rtd",
)
DOWNSTREAM = {"trec": ("classify", 3.0), "ud_en_ewt": ("tag", 1.0)}
"""The task that learns from each set, and its epochs."""
SEEDS = (1, 2, 3)
EVERY = 10


class Quiet:
    """Shows what is said and the held-out measures."""

    def say(self, text: str) -> None:
        print(" ", text.splitlines()[0], flush=True)

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        if heldout := {name: round(x, 4) for name, x in numbers.items() if name.startswith("heldout")}:
            print(f"  {done} of {steps}: {heldout}", flush=True)


def pretrained(spec: str, args: argparse.Namespace) -> Mapping[str, float]:
    """The held-out measures of a model that learned by the objective for the budget."""
    objective, *sets = spec.split(",")
    given = {"out": str(args.out / spec), "task": objective, "data.store": args.store, "encoder.size": args.size}
    tables = laid_over(tables_of(args.recipe), nested(given | {"train.budget": args.budget, "save.keep": 1}))
    run(Recipe.of(overridden(tables, tuple(sets))), Quiet())
    record = Provenance.read(args.out / spec / "model")
    return record.heldout if record else {}


def own(heldout: Mapping[str, float]) -> str:
    """The accuracy of the part that is no masked LM, and that of its commonest answer."""
    for name in ("nsp", "sop", "ssp"):
        if f"{name}.accuracy" in heldout:
            return f"{100 * heldout[f'{name}.accuracy']:.1f} (50)"
    if "rtd.accuracy" in heldout:
        return f"{100 * heldout['rtd.accuracy']:.1f} ({100 * heldout['rtd.originals']:.1f})"
    return ""


def right_of_blimp(model: Path, tasks: Path) -> float:
    """Per cent of every tenth pair; of a model with a generator, by that."""
    pairs = pairs_of(islice(read_rows(tasks / "blimp" / "test.jsonl.gz"), 0, None, EVERY))
    generator = model / "generator"
    return 100 * table(Judge(str(generator if generator.is_dir() else model), fast=True)(pairs))[0].right.value


def finetuned(start: Mapping[str, str], name: str, home: Path, tasks: Path, seed: int) -> float:
    """Test accuracy in per cent."""
    task, epochs = DOWNSTREAM[name]
    files = {split: tasks / name / f"{split}.jsonl.gz" for split in ("train", "dev", "test")}
    data = {split: str(files[split]) for split in ("train", "dev") if files[split].is_file()}
    tables = {"out": str(home), "task": task, "seed": seed, "data": data, "encoder": start, "train": {"epochs": epochs}}
    run(Recipe.of(tables), Quiet())
    return 100 * Answerer(str(home)).evaluate_rows(read_rows(files["test"]))[f"{task}.accuracy"]


def downstream(start: Mapping[str, str], label: str, args: argparse.Namespace) -> list[str]:
    cells = []
    for name in DOWNSTREAM:
        mean = of_mean(
            [finetuned(start, name, args.out / f"{label}-{name}-{seed}", args.tasks, seed) for seed in SEEDS]
        )
        cells.append(f"{mean.value:.1f} ± {mean.high - mean.value:.1f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("tasks", type=Path)
    parser.add_argument("objectives", nargs="*", default=OBJECTIVES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--recipe", default=DEFAULT)
    args = parser.parse_args()
    rows = []
    for spec in args.objectives:
        print(spec, flush=True)
        heldout = pretrained(spec, args)
        print(json.dumps(dict(heldout)), flush=True)
        masked = next((heldout[f"{name}.accuracy"] for name in ("mlm", "amlm") if f"{name}.accuracy" in heldout), None)
        scores = downstream({"start": str(args.out / spec)}, spec, args)
        right = right_of_blimp(args.out / spec / "model", args.tasks)
        rows.append([spec, f"{100 * masked:.1f}" if masked else "", own(heldout), f"{right:.1f}", *scores])
        print("|", " | ".join(rows[-1]), "|", flush=True)
    like = {"start": "scratch", "like": str(args.out / args.objectives[0])}
    rows.insert(0, ["random weights", "", "", "50.0", *downstream(like, "random", args)])
    print(f"\n{args.budget} each, {args.size}, recipe {args.recipe}, {time.strftime('%Y-%m-%d')}\n")
    print("| objective | masked right | own (commonest) | BLiMP | TREC | UD EWT |\n|---|--:|--:|--:|--:|--:|")
    for row in rows:
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
