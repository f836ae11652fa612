"""What two benchmarks share: rows in equal number for all sides, and work that goes on where it was broken off."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from bertwright.text.formats import read_rows

Facts = Mapping[str, Any]


def sampled(file: Path, most: int, out: Path) -> Path:
    """A file of at most `most` rows, evenly spaced over those of `file`; 0: all of them."""
    rows = list(read_rows(file))
    kept = [rows[at * len(rows) // most] for at in range(most)] if 0 < most < len(rows) else rows
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return out


def side_by_side(
    measure: Callable[[str, Any], Facts], names: Sequence[str], args: Any, jobs: int
) -> Iterator[tuple[str, Facts]]:
    """`measure(name, args)` for each name, as they end, in `jobs` processes that share the threads.

    What it comes to is kept as OUT/NAME.json, and not measured again while that is there and was asked for alike.
    """
    known = {name: facts for name in names if (facts := _kept(name, args)) is not None}
    yield from known.items()
    left = [name for name in names if name not in known]
    threads = max(1, torch.get_num_threads() // jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes, which start afresh
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = {pool.submit(_measured, measure, name, args): name for name in left}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _measured(measure: Callable[[str, Any], Facts], name: str, args: Any) -> Facts:
    """Kept by the process that measures: another's failure must not lose it."""
    facts = dict(measure(name, args))
    kept = json.dumps({"asked": _asked(args), "found": facts}, ensure_ascii=False)
    _file(name, args).write_text(kept, encoding="utf-8")
    return facts


def threads_each(jobs: int) -> str:
    each = max(1, torch.get_num_threads() // jobs)
    return f"{jobs} at a time, {each} thread{'s' * (each > 1)} each" if jobs > 1 else f"{each} thread{'s' * (each > 1)}"


def _file(name: str, args: Any) -> Path:
    return args.out / f"{name}.json"


def _asked(args: Any) -> dict[str, str]:
    """What results hang on: the options, but for which of them are measured, and where."""
    return {key: str(value) for key, value in sorted(vars(args).items()) if key not in ("names", "out")}


def _kept(name: str, args: Any) -> Facts | None:
    file = _file(name, args)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return kept["found"] if kept.get("asked") == _asked(args) else None
