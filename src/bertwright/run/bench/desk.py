"""How a contestant takes orders: lines of JSON in, lines of JSON out; between two steps it waits for the next one.

    {"do": "train", "of": N, "steps": n}    from fresh weights a training of N steps, of which n now
    {"do": "go", "steps": n}                n steps more of it
        -> {"seconds": [...], "tokens": [...], "labelled": [...]}, a number a step
    {"do": "loss"} -> {"loss": nats}    {"do": "memory"} -> {"bytes": n}    {"do": "peak"} -> {"flops": a second}

The training itself is under way while it waits, whether its loop is ours or the Trainer's: a step ends, `after` is
called, and returns when there is more to do. The end of the input ends it all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO, Any, Protocol

from .yardstick import matrix_peak, peak_memory, settled

After = Callable[[int, int], bool]
"""Told the real tokens and the labels of a step that is done; whether to go on."""


class Contestant(Protocol):
    def train(self, steps: int, after: After) -> None: ...

    def loss(self) -> float: ...


class Desk:
    """The orders for one contestant, from `inbox` and answered to `outbox`."""

    def __init__(self, contestant: Contestant, inbox: IO[str], outbox: IO[str]) -> None:
        self._contestant = contestant
        self._inbox, self._outbox = inbox, outbox
        self._training: int | None = None
        self._wanted = 0
        self._steps: list[tuple[float, int, int]] = []
        self._since = 0.0

    def serve(self) -> None:
        """Does everything that is asked until the input ends."""
        self._wait()
        while self._training is not None:
            steps, self._training = self._training, None
            self._since = settled()
            self._contestant.train(steps, self._after)
            if self._training is None:
                self._wait()

    def _after(self, tokens: int, labelled: int) -> bool:
        self._steps.append((settled() - self._since, tokens, labelled))
        if len(self._steps) == self._wanted:
            seconds, tokens_of, labels_of = zip(*self._steps, strict=True)
            self._say(seconds=seconds, tokens=tokens_of, labelled=labels_of)
            self._wait()
        self._since = settled()
        return self._wanted > 0 and self._training is None

    def _wait(self) -> None:
        """Answers until there are steps to do, a new training to begin, or nothing any more."""
        self._steps, self._wanted = [], 0
        for line in iter(self._inbox.readline, ""):
            order = json.loads(line)
            if order["do"] in ("train", "go"):
                self._training, self._wanted = order.get("of"), order["steps"]
                return
            self._say(**self._answer(order["do"]))

    def _answer(self, what: str) -> dict[str, Any]:
        if what == "loss":
            return {"loss": self._contestant.loss()}
        return {"bytes": peak_memory()} if what == "memory" else {"flops": matrix_peak()}

    def _say(self, **facts: Any) -> None:
        print(json.dumps(facts), file=self._outbox, flush=True)
