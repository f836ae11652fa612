"""Steps of fine-tuning by several checkouts, a few at a time in turn: what a change is worth, whatever the pace.

    python benchmarks/in_step.py CLASSIFIER ROWS.jsonl --source SRC --source SRC [--turns 40]

CLASSIFIER and ROWS are as for `downstream.py`; SRC is the folder `src` of a checkout, the first one what the others are
compared with. Each has a process of its own that trains two epochs first, so that it has met its shapes, and then
`STEPS` whenever it is its turn, while the others wait. Printed: the median step, and the median ratio of a turn's time
to that of the first checkout's turn beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from downstream import Rows, our_loop

STEPS = 6
EPOCHS = 100


def train_in_turns(model: Path, file: Path, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loop, steps = our_loop(Rows.taken(model, file, number, Path(folder)), EPOCHS)
        going = loop.steps(steps)
        for _ in islice(going, 2 * steps // EPOCHS):
            pass
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            for _ in islice(going, STEPS):
                pass
            print((time.perf_counter() - started) / STEPS, flush=True)


@contextmanager
def taking_turns(source: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": source}
    with subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--one"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def turn(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("classifier", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--source", action="append", required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        model = args.classifier / "model" if (args.classifier / "model").is_dir() else args.classifier
        train_in_turns(model, args.file, args.rows)
        return
    times: list[list[float]] = [[] for _ in args.source]
    with ExitStack() as stack:
        processes = [stack.enter_context(taking_turns(source)) for source in args.source]
        for number in range(args.turns):
            order = list(range(len(processes)))
            for at in order if number % 2 == 0 else reversed(order):
                times[at].append(turn(processes[at]))
    print(f"{time.strftime('%Y-%m-%d')}\n\n| | milliseconds a step | of the first one's time |\n|---|--:|--:|")
    for source, mine in zip(args.source, times, strict=True):
        ratio = statistics.median(a / b for a, b in zip(mine, times[0], strict=True))
        print(f"| {source} | {1e3 * statistics.median(mine):.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
