"""Seconds from typing `bertwright pretrain` to the first step done, of one or several checkouts in alternation.

    python benchmarks/first_step.py STORE [--source SRC ...] [--rounds 4] [--further="--arch bert"]

STORE is a prepared store. SRC is the folder `src` of a checkout; without any it is what is installed.
`--further` goes to `pretrain`. Each start is a new process; the run's own line on its first step ends the time.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START = "import sys; sys.argv[0] = 'bertwright'; from bertwright.cli import main; main()"


def seconds(store: Path, source: str, further: list[str]) -> float:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **({"PYTHONPATH": source} if source else {})}
    with tempfile.TemporaryDirectory() as folder:
        words = ["pretrain", str(store), "--out", f"{folder}/run", "--steps", "1", *further]
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", START, *words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as run:  # fmt: skip
            assert run.stdout is not None
            took = next(time.perf_counter() - started for line in run.stdout if line.startswith("training: 1 of"))
            run.stdout.read()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--source", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--further", type=shlex.split, default=[])
    args = parser.parse_args()
    sources = args.source or [""]
    found: dict[str, list[float]] = {source: [] for source in sources}
    for _ in range(args.rounds):
        for source in sources:
            found[source].append(seconds(args.store, source, args.further))
    print(f"{time.strftime('%Y-%m-%d')}\n\n| | seconds |\n|---|--:|")
    for source, times in found.items():
        print(f"| {source or 'installed'} | {statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}) |")


if __name__ == "__main__":
    main()
