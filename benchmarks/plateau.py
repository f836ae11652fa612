"""How fast masked LM leaves the plateau near the unigram entropy, by initialisation.

    python benchmarks/plateau.py STORE --out DIR [--size mini] [--seeds 1,2,3] [--steps 600 | --seconds 300]
        [--init paper] [--init local] [--init local:gain=1.5,layers=2] [--init modern/paper+counted]

Each `--init` is [ARCHITECTURE/]LAW[+counted][:SETTING=VALUE,...]: a law of `bertwright.encoders.laws`, for `local` with
the fields of `Neighbours` (offsets as -1/1/-2/2), for any law with `lr` and `optimizer` of its own; `+counted` writes
what counting the text tells of its words over what the law drew. All inits with all
seeds train in alternation, a few steps at a time, each on a clock that runs in its own training steps only. A seed
decides the weights, the order of the examples and their masks; the held-out masks are the same for all. Printed is the
held-out loss after each quarter of the budget, mean ± half the range over the seeds, and how many of its seconds and
tokens each needed to get where the first one ended. DIR gets plateau.jsonl, and plateau.svg where matplotlib is there.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterable
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import IO, Any

import torch

from bertwright.data.cooccurrence import count, sample
from bertwright.data.feed import Feed
from bertwright.data.plan import Plan
from bertwright.data.store import TokenStore
from bertwright.encoders import counted, laws
from bertwright.encoders.base import Encoder
from bertwright.encoders.neighbours import Neighbours
from bertwright.flow import Batch
from bertwright.run.sources import labelled_once, store_examples
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.loop import Loop, measure
from bertwright.train.memory import keep_memory
from bertwright.train.optim import optimizer
from bertwright.train.precision import device, resolve
from bertwright.train.schedule import factor

TASK = MaskedLM()
QUARTERS = (0.25, 0.5, 0.75, 1.0)
CHUNK_TOKENS = 1_000_000


class Setting:
    """What stands behind an `--init`."""

    def __init__(self, text: str) -> None:
        start, _, fields = text.partition(":")
        self.name = text
        law, _, words = start.partition("+")
        arch, _, law = law.rpartition("/")
        self.counted = words == "counted"
        self.arch = arch or "bert"
        values = dict(field.split("=") for field in fields.split(",") if field)
        lr = values.pop("lr", None)
        self.lr = None if lr is None else float(lr)
        self.optimizer = values.pop("optimizer", None)
        self.law: str | laws.Law = law
        if values:
            self.law = partial(laws.local, neighbours=_neighbours(values))
        if law not in laws.LAWS or (values and law != "local") or words not in ("", "counted"):
            raise SystemExit(f"--init {text}: laws are {', '.join(laws.LAWS)}, also +counted; only local has settings")


def _neighbours(values: dict[str, str]) -> Neighbours:
    read = {"layers": int, "offsets": lambda text: tuple(int(offset) for offset in text.split("/"))}
    if unknown := values.keys() - set(Neighbours._fields):
        raise SystemExit(f"unknown {', '.join(sorted(unknown))}; the law has {', '.join(Neighbours._fields)}")
    return Neighbours(**{name: read.get(name, float)(value) for name, value in values.items()})


class Runner:
    """One setting with one seed: a loop, its clock, and what was measured so far."""

    def __init__(self, setting: Setting, seed: int, store: TokenStore, args: argparse.Namespace) -> None:
        self.setting, self.seed = setting, seed
        encoder = Encoder.from_config(args.size, vocab_size=store.vocab_size, arch=setting.arch)
        encoder.draw(seed, setting.law)
        model = Model(encoder, TASK)
        encoder.draw_head(model.head, seed, setting.law)
        if setting.counted:
            counted.write(count(sample(store.train), store.vocab_size), encoder, model.head, seed)
        model.set_dropout(args.dropout)
        model.to(device())
        documents = store.train.documents(args.length)
        chunk = max(1, CHUNK_TOKENS * len(documents) // documents.tokens)
        plan = Plan(documents, TASK.examples, batch_size=args.batch_size, seed=seed, chunk_items=chunk)
        self.loop = Loop(
            model,
            Feed(plan, TASK.label, store.vocabulary, args.micro_tokens),
            optimizer(
                setting.optimizer or args.optimizer,
                model,
                lr=setting.lr or args.lr,
                matrix_lr=args.matrix_lr,
                weight_decay=0.01,
            ),
            partial(factor, args.schedule, steps=args.steps or 0, warmup=args.warmup),
            clip=1.0,
            precision=args.precision,
            seed=seed,
        )
        self.seconds, self.tokens = 0.0, 0
        self.points: list[dict[str, Any]] = []

    def train(self, until: int, seconds: float) -> None:
        """Up to step `until`, or to `seconds` on its clock."""
        start, before = time.perf_counter(), self.seconds
        for step in self.loop.steps(until):
            self.tokens += step.tokens
            self.seconds = before + time.perf_counter() - start
            if self.seconds >= seconds:
                break

    def evaluate(self, heldout: Iterable[Batch]) -> dict[str, Any]:
        report = TASK.report(measure(self.loop.model, heldout, self.loop.precision))
        self.points.append(
            {
                "init": self.setting.name,
                "seed": self.seed,
                "step": self.loop.step,
                "seconds": round(self.seconds, 3),
                "tokens": self.tokens,
                "loss": round(report["mlm.loss"], 4),
                "accuracy": round(report["mlm.accuracy"], 4),
            }
        )
        return self.points[-1]


def train_all(runners: list[Runner], heldout: list[Batch], args: argparse.Namespace, log: IO[str]) -> None:
    """Turn by turn until every budget is spent."""
    steps, seconds = args.steps or 2**62, args.seconds or float("inf")

    def note(runner: Runner) -> None:
        point = runner.evaluate(heldout)
        print(json.dumps(point), file=log, flush=True)
        print(*(f"{value}" for value in point.values()), sep="  ", flush=True)

    for runner in runners:
        note(runner)
    while going := [r for r in runners if r.loop.step < steps and r.seconds < seconds]:
        for runner in going:
            runner.train(min(steps, runner.loop.step + args.every), seconds)
            note(runner)


def at(points: list[dict[str, Any]], clock: str, when: float) -> float:
    """The loss at a moment, between two measurements as on the line between them."""
    for before, after in pairwise(points):
        if when <= after[clock]:
            share = (when - before[clock]) / (after[clock] - before[clock])
            return before["loss"] + share * (after["loss"] - before["loss"])
    return points[-1]["loss"]


def reaching(points: list[dict[str, Any]], loss: float, clock: str) -> float | None:
    """The seconds or tokens at the first measurement of that loss or less."""
    return next((point[clock] for point in points if point["loss"] <= loss), None)


def table(runners: list[Runner], settings: list[Setting], args: argparse.Namespace) -> str:
    clock, budget = ("step", args.steps) if args.steps else ("seconds", args.seconds)
    goal = statistics.mean(r.points[-1]["loss"] for r in runners if r.setting is settings[0])
    marks = [f"{clock} {budget * quarter:g}" for quarter in QUARTERS]
    lines = ["| init | " + " | ".join((*marks, f"seconds to {goal:.2f}", "tokens")) + " |", "|---" * 7 + "|"]
    for setting in settings:
        curves = [runner.points for runner in runners if runner.setting is setting]
        cells = [_spread([at(points, clock, budget * quarter) for points in curves]) for quarter in QUARTERS]
        for measure_of in ("seconds", "tokens"):
            reached = [found for points in curves if (found := reaching(points, goal, measure_of)) is not None]
            median = f"{statistics.median(reached):,.0f}" if reached else "not reached"
            cells.append(median if len(reached) in (0, len(curves)) else f"{median} ({len(reached)} of {len(curves)})")
        lines.append(f"| {setting.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


def draw_curves(runners: list[Runner], settings: list[Setting], path: Path) -> bool:
    """Held-out loss by seconds and by tokens, a line a seed; whether matplotlib was there to do it."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for panel, clock in zip(panels, ("seconds", "tokens"), strict=True):
        for runner in runners:
            number = settings.index(runner.setting)
            first = runner.seed == min(r.seed for r in runners)
            x, y = zip(*((point[clock], point["loss"]) for point in runner.points), strict=True)
            panel.plot(x, y, f"C{number}", label=runner.setting.name if first else None, linewidth=1.2)
        panel.set_xlabel(clock)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("held-out masked LM loss, nats a token")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path)
    return True


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", action="append", metavar="[ARCH/]LAW[:SETTING=VALUE,...]")
    parser.add_argument("--seeds", default="1,2,3")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--seconds", type=float)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--matrix-lr", type=float, default=0.02, help="of muon")
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--warmup", type=int, default=50, help="steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--micro-tokens", type=int, default=8192)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--every", type=int, default=50, help="steps from one held-out loss, and one turn, to the next")
    parser.add_argument("--heldout", type=int, default=256, help="examples")
    args = parser.parse_args()
    if args.schedule != "constant" and not args.steps:
        parser.error("a schedule that falls needs --steps: how far to fall")
    args.init = args.init or ["paper", "local"]
    args.precision = resolve(args.precision, device())
    return args


def main() -> None:
    args = parsed()
    keep_memory()
    settings = [Setting(text) for text in args.init]
    store = TokenStore(Path(args.store))
    examples = store_examples(args.store, TASK, store.tokenizer, args.length, args.heldout)
    heldout = list(labelled_once(TASK, examples, store.tokenizer, args.micro_tokens))
    seeds = [int(seed) for seed in args.seeds.split(",")]
    runners = [Runner(setting, seed, store, args) for seed, setting in product(seeds, settings)]
    args.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "settings": {**vars(args), "out": str(args.out)},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
    }
    with (args.out / "plateau.jsonl").open("w", encoding="utf-8") as log:
        print(json.dumps(facts), file=log, flush=True)
        train_all(runners, heldout, args, log)
    print(table(runners, settings, args))
    if not draw_curves(runners, settings, args.out / "plateau.svg"):
        print("No curves: matplotlib is not installed.")


if __name__ == "__main__":
    main()
