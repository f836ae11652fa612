"""What a person sees while a run goes on, and at its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from ..data.leaks import Leak
    from ..data.store import TokenStore
    from ..run.quickstart import Learned
    from ..run.run import Stop

_EVERY = 10.0
"""Seconds between two lines where there is no terminal to draw a bar in."""
_GLANCED_AT = ("loss", "accuracy", "micro_f1", ".f1", ".mse", ".pearson")


class Terminal:
    """Sentences and progress bars on standard error's terminal, or a line now and then where there is none."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(16, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            _Measures(),
            console=self._console,
        )
        self._bars: dict[str, Any] = {}
        self._last, self._line_before = 0.0, ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        """A training step, or what the held-out data say at it."""
        heldout = {name: value for name, value in numbers.items() if name.startswith("heldout ")}
        if heldout:
            self.say(f"step {done}  " + _brief(heldout))
            return
        self.bar("training", done, steps, _brief(numbers))

    def bytes(self, stage: str, done: int, total: int) -> None:
        """How far a stage is that goes through so many bytes."""
        self.bar(stage, done, total, unit="bytes")

    def bar(self, stage: str, done: int, total: int | None, numbers: str = "", unit: str = "") -> None:
        """How far a stage is."""
        if not self._console.is_terminal:
            self._line(stage, done, total, numbers, unit)
            return
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total, numbers="")
        self._progress.update(self._bars[stage], completed=done, total=total, numbers=unit or numbers)

    def _line(self, stage: str, done: int, total: int | None, numbers: str, unit: str) -> None:
        now, of = time.monotonic(), f" of {total:,}" if total else ""
        line = f"{stage}: {done:,}{of} {unit}".rstrip() + f"  {numbers}".rstrip()
        if line == self._line_before or (now - self._last < _EVERY and done != total):
            return
        self._last, self._line_before = now, line
        self.say(line)


class _Measures(ProgressColumn):
    """What a step measured, in the room that the other columns leave: the only one that gives way."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["numbers"], no_wrap=True, overflow="ellipsis")


@contextmanager
def ending_on_signals(stop: Stop) -> Iterator[Stop]:
    """A first interrupt or termination asks the run to stop at the next step, a second one ends at once.

    Ends the process with 128 + the signal's number once the run has stopped.
    """
    from ..run.run import Stopped

    got: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if got:
            raise KeyboardInterrupt
        got.append(number)
        stop.asked = True
        # Past Python's streams, which may be in the middle of a line. Where nobody reads on, the run stops too.
        with suppress(OSError):
            os.write(2, b"bertwright: stopping after this step; once more ends at once\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except Stopped as stopped:
        print(f"bertwright: {stopped}", file=sys.stderr)
        sys.exit(128 + got[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_run(home: Path, as_json: bool) -> None:
    """What a finished run came to."""
    from ..run.inspection import inspected

    facts = inspected(str(home)).facts
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print_report(facts["heldout"], False)


def print_report(report: Mapping[str, float], as_json: bool) -> None:
    """Measures, one a line."""
    if as_json:
        print(json.dumps(report))
        return
    width = max(map(len, report), default=0)
    for name, value in report.items():
        print(f"{name:<{width}}  {value:.4f}")


def print_store(store: TokenStore, told: Mapping[str, Leak], as_json: bool) -> None:
    """What a store was made of, and what is told of pairs made of it."""
    from ..data.describe import describe
    from ..run.leaking import described

    if as_json:
        shares = {name: {"told": leak.share, "pairs": leak.pairs} for name, leak in told.items()}
        print(json.dumps({**store.manifest, "pairs": shares}, ensure_ascii=False))
    else:
        print("\n".join([*describe(store), *described(told)]))


def print_learned(learned: Learned, as_json: bool) -> None:
    """What a quickstart brought."""
    if as_json:
        print(json.dumps(vars(learned), ensure_ascii=False))
        return
    numbers, tested = learned.pretrained, learned.finetuned
    with_it, without = (tested[start]["classify.accuracy"] for start in ("bert", "scratch"))
    rows = [("sentiment right", with_it, "from random weights", without)]
    if numbers:
        rows = [
            ("masked words right", numbers["mlm.accuracy"], "always the commonest", numbers["mlm.commonest"]),
            ("next sentence right", numbers["nsp.accuracy"], "always the commoner", numbers["nsp.commonest"]),
            *rows,
        ]
    print("\nWhat was learned, on text that was not trained on:")
    for name, value, instead, baseline in rows:
        print(f"  {name:<20} {value:6.1%}   {instead}: {baseline:.1%}")
    for text, words in learned.filled.items():
        print(f"  {text}  " + ", ".join(f"{word} {share:.0%}" for word, share in words))


def _brief(numbers: Mapping[str, float]) -> str:
    """What is worth a glance while it goes on: losses, scores and the speed; the rest is in the metrics."""
    shown = [f"{name} {value:.3f}" for name, value in numbers.items() if name.endswith(_GLANCED_AT)]
    speed = numbers.get("tokens_per_second")
    return "  ".join([*shown, f"{speed:,.0f} tokens/s"] if speed else shown)
