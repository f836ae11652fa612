"""The comparison: who is asked what and in which order, and the numbers that come of it.

All contestants live at once and one of them works at a time, in rounds, so that whatever else the machine does falls on
all of them. First some steps a round for the speed, then, from fresh weights, a training of a given time, in slices.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...data.store import TokenStore
from ...errors import RunError
from ..provenance import versions
from .contestants import OURS, WAYS, cannot_run
from .entry import SLICES, Entry, Lengths
from .flops import flops_per_token
from .judge import HeldOut
from .process import Fallen, Process
from .workload import Workload


class Watch(Protocol):
    """How a comparison speaks to whoever watches it."""

    def say(self, text: str) -> None: ...

    def bar(self, stage: str, done: int, total: int | None, numbers: str = ...) -> None: ...


def compete(workload: Workload, lengths: Lengths, names: Sequence[str], watch: Watch) -> dict[str, Any]:
    """Everything that was measured, as it goes into JSON.

    Contestants that cannot run here are left out, and said. Raises RunError when bertwright itself fails or nobody is
    left, and the errors of `bertwright.errors` for a text or settings that nothing can be measured on.
    """
    workload.check()
    store = TokenStore(Path(workload.store))
    if lengths.seconds:
        _ = HeldOut(store, workload.length).batches  # What cannot be judged is refused now, and not after the rounds.
    with ExitStack() as stack:
        contest = _Contest(cannot_run(names), watch)
        contest.entries = [
            Entry(stack.enter_context(Process(name, workload)), lengths) for name in names if name not in contest.out
        ]
        contest.go(lengths)
    if not contest.entries:
        raise RunError("nobody is left to compare: " + "; ".join(f"{name}: {why}" for name, why in contest.out.items()))
    peak = max(entry.peak for entry in contest.entries)
    shape = workload.shape(store.vocabulary)
    return {
        "contestants": [
            {"name": entry.name, "says": _says(entry.name), **entry.report(partial(flops_per_token, shape), peak)}
            for entry in contest.entries
        ],
        "left_out": contest.out,
        "peak_flops": peak,
        "workload": asdict(workload),
        "lengths": asdict(lengths),
        "text": {"store": store.fingerprint, "vocabulary": store.vocab_size, "tokens": store.train.tokens},
        "machine": {"processor": _processor(), "threads": contest.entries[0].threads},
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


class _Contest:
    """Everybody who is still in, and why the others are `out`."""

    def __init__(self, out: dict[str, str], watch: Watch) -> None:
        self.entries: list[Entry] = []
        self.out = out
        self._watch = watch
        for name, why in out.items():
            watch.say(f"{name} is left out: {why}")

    def go(self, lengths: Lengths) -> None:
        """All stages, each for one contestant after the other."""
        stages: list[tuple[str, Callable[[Entry], None]]] = [("starting", Entry.ready), ("first steps", Entry.begin)]
        stages += [(f"round {number + 1} of {lengths.rounds}", Entry.round) for number in range(lengths.rounds)]
        stages += [("matrix products", Entry.measure)]
        if lengths.seconds:
            stages += [("fresh weights", Entry.learn_anew)]
            stages += [(f"training, {share:.0%}", partial(Entry.learn, at=at)) for at, share in enumerate(SLICES)]
        total = len(stages) * len(self.entries)
        for done, (name, act) in enumerate(stages):
            for number, entry in enumerate(list(self.entries)):
                at = total * done // len(stages) + number
                self._watch.bar("comparing", at, total, f"{entry.name}: {name}")
                self._act(entry, act)
        self._watch.bar("comparing", total, total, "")

    def _act(self, entry: Entry, act: Callable[[Entry], None]) -> None:
        """Who falls is left out from then on."""
        try:
            act(entry)
        except Fallen as fallen:
            if entry.name in OURS:
                raise RunError(f"{entry.name} itself failed: {fallen}") from fallen
            self.entries.remove(entry)
            self.out[entry.name] = str(fallen)
            self._watch.say(f"{entry.name} is left out: {fallen}")


def _says(name: str) -> str:
    if name in OURS:
        return f"by the recipe {OURS[name]}" if OURS[name] else "from the paper's initialisation under AdamW"
    return f"transformers' Trainer: {WAYS[name].says}, batches of {WAYS[name].batch_size}"


def _processor() -> str:
    """As the system calls it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
