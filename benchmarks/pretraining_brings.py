"""What pretraining brings: the same fine-tuning from a pretrained encoder and from random weights.

    python benchmarks/pretraining_brings.py STORE TASKS --out DIR --pretrain 10m --pretrain 30m [--recipe modern]

STORE is a token store, TASKS a folder with trec/{train,test}.jsonl.gz and sst2/{train,dev,test}.jsonl.gz, or
with the folders that are named by `--task`, whose rows have `text` and `label`, or `tokens` and `tags`. Each
`--pretrain BUDGET` pretrains one encoder for that time, or for a number of steps where it is a number, by the recipe
with each `--set KEY=VALUE` laid over it, as in `--set task=mlm+bow`; each is fine-tuned, beside the same architecture
from random weights, with all labels (3 epochs) and with 500 (10 epochs), three seeds each: the seed decides the head,
the order, dropout and which 500. Printed: test accuracy, the mean and the half-width of its 95 % interval over the
seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from bertwright.cli.recipes import nested
from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance
from bertwright.run.run import run
from bertwright.run.shipped import DEFAULT, laid_over, tables_of
from bertwright.run.spec import Recipe, overridden
from bertwright.seeds import generator
from bertwright.text.formats import read_rows

TASKS = ("trec", "sst2")
SEEDS = (1, 2, 3)
T_95 = 4.303
"""Student's t for two degrees of freedom."""
LABELS = {"all": 3.0, "500": 10.0}
"""Epochs by how many labels are used."""


class Quiet:
    def say(self, text: str) -> None:
        print(text.splitlines()[0], flush=True)

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        if done % 200 == 0:
            print(done, {name: round(value, 4) for name, value in numbers.items() if "loss" in name}, flush=True)


def pretrain(store: str, out: Path, budget: str, size: str, recipe: str, sets: tuple[str, ...]) -> dict[str, float]:
    how_long = {"train.steps": int(budget)} if budget.isdigit() else {"train.budget": budget}
    given = {"out": str(out / budget), "data.store": store, "encoder.size": size, **how_long}
    started = time.perf_counter()
    run(Recipe.of(overridden(laid_over(tables_of(recipe), nested(given)), sets)), Quiet())
    record = Provenance.read(out / budget / "model")
    return {"seconds": round(time.perf_counter() - started), **(record.heldout if record else {})}


def subset(tasks: Path, task: str, labels: str, seed: int, out: Path) -> Path:
    """The training file, or one with 500 of its rows."""
    source = tasks / task / "train.jsonl.gz"
    if labels == "all":
        return source
    rows = list(read_rows(source))
    chosen = generator("subset", seed).permutation(len(rows))[: int(labels)]
    path = out / f"{task}-{labels}-{seed}.jsonl"
    path.write_text("".join(json.dumps(rows[i]) + "\n" for i in chosen), encoding="utf-8")
    return path


def finetune(tasks: Path, out: Path, task: str, labels: str, start: str, like: str, seed: int) -> float:
    """Test accuracy, of tags where rows have some."""
    home = out / f"{task}-{labels}-{start}-{seed}"
    kind = "tag" if "tags" in next(iter(read_rows(tasks / task / "train.jsonl.gz"))) else "classify"
    data = {"train": str(subset(tasks, task, labels, seed, out))}
    dev = tasks / task / "dev.jsonl.gz"
    if dev.is_file():
        data["dev"] = str(dev)
    encoder = {"start": "scratch", "like": str(out / like)} if start == "scratch" else {"start": str(out / start)}
    train = {"epochs": LABELS[labels]}
    run(
        Recipe.of({"out": str(home), "task": kind, "seed": seed, "data": data, "encoder": encoder, "train": train}),
        Quiet(),
    )
    return Answerer(str(home)).evaluate_rows(read_rows(tasks / task / "test.jsonl.gz"))[f"{kind}.accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--task", action="append", help="a folder of TASKS; trec and sst2 where none is given")
    parser.add_argument("--labels", action="append", choices=LABELS)
    parser.add_argument("--pretrain", action="append", required=True, metavar="BUDGET|STEPS")
    parser.add_argument("--recipe", default=DEFAULT)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    budgets = list(args.pretrain)
    pretrained = {one: pretrain(args.store, args.out, one, args.size, args.recipe, tuple(args.sets)) for one in budgets}
    print(json.dumps(pretrained, indent=1))
    table = {}
    for task, labels, start in product(args.task or TASKS, args.labels or LABELS, ("scratch", *budgets)):
        scores = [100 * finetune(args.tasks, args.out, task, labels, start, budgets[0], seed) for seed in SEEDS]
        interval = T_95 * statistics.stdev(scores) / len(scores) ** 0.5
        table[f"{task}, {labels} labels, {start}"] = f"{statistics.mean(scores):.1f} ± {interval:.1f}"
        print(f"{task}, {labels} labels, {start}: {table[f'{task}, {labels} labels, {start}']}  {scores}", flush=True)
    print(json.dumps({"pretrained": pretrained, "accuracy": table}, indent=1))


if __name__ == "__main__":
    main()
