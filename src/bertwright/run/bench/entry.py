"""A contestant under measurement: what it is asked for, and what has been noted of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median, quantiles
from typing import Any

from ...errors import RecipeError
from .process import Process

FIRST = 2
"""Steps before the rounds, not counted: the first compiles, fills caches and starts the data."""
SLICES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
"""Shares of the training after which the held-out loss is taken."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long a comparison takes. Raises RecipeError for numbers out of range."""

    rounds: int = 3
    steps: int = 4
    """Timed steps a round."""
    seconds: float = 30.0
    """Training of each contestant for the loss against time; 0: none."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps < 1:
            raise RecipeError(f"rounds and steps are at least 1, not {self.rounds} and {self.steps}")
        if not 0 <= self.seconds < float("inf"):
            raise RecipeError(f"seconds is a number from 0 on, not {self.seconds}")


@dataclass
class Entry:
    """Asks a contestant's process, and keeps its answers."""

    process: Process
    lengths: Lengths
    threads: int = 0
    first_step: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Of each timed step; beside them its real tokens and its labels."""
    tokens: list[int] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    memory: int | None = None
    peak: float = 0.0
    """The best matrix product in this process, FLOP/s."""
    heldout: list[dict[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.process.name

    def ready(self) -> None:
        """Waits until it is built."""
        self.threads = self.process.ready()["threads"]

    def begin(self) -> None:
        """The first steps of a training that the rounds go on with."""
        steps = FIRST + self.lengths.rounds * (1 + self.lengths.steps)
        self.first_step = self.process.ask("train", of=steps, steps=FIRST)["seconds"][0]

    def round(self) -> None:
        """Timed steps after one that is not: the others have had the caches since."""
        answer = self.process.ask("go", steps=1 + self.lengths.steps)
        self.seconds += answer["seconds"][1:]
        self.tokens += answer["tokens"][1:]
        self.labelled += answer["labelled"][1:]

    def measure(self) -> None:
        """Its memory so far, and the machine's matrix products in its process."""
        self.memory = self.process.ask("memory")["bytes"]
        self.peak = self.process.ask("peak")["flops"]

    def learn_anew(self) -> None:
        """Fresh weights and a step off the clock, which compiles where something is compiled."""
        self.process.ask("train", of=1 + self._ends[-1], steps=1)

    def learn(self, at: int) -> None:
        """The slice `at` of that training, and the held-out loss after it."""
        begin, end = list(pairwise([0, *self._ends]))[at]
        answer = self.process.ask("go", steps=end - begin)
        before = self.heldout[-1] if self.heldout else {"seconds": 0.0, "tokens": 0}
        point = {name: before[name] + sum(answer[name]) for name in ("seconds", "tokens")}
        self.heldout.append({**point, "loss": self.process.ask("loss")["loss"]})

    @property
    def _ends(self) -> list[int]:
        """After which steps it is judged: as many in all as fill the time at the speed of the rounds."""
        steps = self.lengths.seconds / median(self.seconds)
        ends: list[int] = []
        for share in SLICES:
            ends.append(max(round(share * steps), ends[-1] + 1 if ends else 1))
        return ends

    def report(self, flops: Callable[[float], float], peak: float) -> dict[str, Any]:
        """What was measured. `flops(share)` is the useful arithmetic a token, `peak` what there could be a second."""
        speeds = [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]
        share = sum(self.labelled) / sum(self.tokens)
        lower, middle, upper = quantiles(speeds, n=4, method="inclusive") if len(speeds) > 1 else speeds * 3
        return {
            "tokens_per_second": {"median": middle, "lower": lower, "upper": upper, "steps": len(speeds)},
            "tokens_per_step": sum(self.tokens) / len(self.tokens),
            "labelled": share,
            "mfu": middle * flops(share) / peak,
            "peak_memory": self.memory,
            "first_step_seconds": self.first_step,
            "heldout": self.heldout,
        }
