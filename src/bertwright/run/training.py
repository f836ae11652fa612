"""A run under way: steps, what is logged of them, judging, saving, and the model at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import ceil, inf
from pathlib import Path
from typing import Any, Protocol

from ..amounts import amount
from ..data.feed import Feed
from ..encoders.exchange import Checkpoint
from ..errors import RunError
from ..flow import Batch
from ..sums import Sums, add
from ..tasks.model import Model
from ..train.average import Average
from ..train.checkpoint import folder_of, prune
from ..train.compiling import as_written, compile_each, compiles
from ..train.depth import Thaw, rates
from ..train.loop import Loop, Step, measure
from ..train.optim import optimizer
from ..train.precision import device, resolve
from ..train.schedule import factor
from . import mistakes, writing
from .answers import graded
from .provenance import Provenance
from .record import RunFolder
from .sources import Source
from .spec import MICRO_TOKENS, Recipe

_LINES = 500
"""How many steps of a run are logged at most."""


class Show(Protocol):
    """How a run speaks to whoever watches it."""

    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None: ...


class Stop:
    """Whether somebody asked the run to stop; it does so after the step at hand, with a checkpoint."""

    asked = False


class Stopped(Exception):
    """The run was asked to stop, and did after leaving a checkpoint."""

    def __init__(self, home: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.home = home


def loop_of(recipe: Recipe, model: Model, feed: Callable[[int], list[Batch]], steps: int) -> Loop:
    """The loop that trains a model as a recipe with its defaults filled in says, for a run of so many steps."""
    train = recipe.train
    warmup = round(train.warmup * (train.horizon or steps))
    peaks = {"lr": train.lr or 0.0, "matrix_lr": train.matrix_lr, "weight_decay": train.weight_decay}
    if compiles(train.compile, device()):
        compile_each(model.encoder.layers)
    return Loop(
        model,
        feed,
        optimizer(train.optimizer, model, **peaks, rates=rates(model, train.layer_decay)),
        lambda step: factor(train.schedule, step, steps=steps, warmup=warmup, decay=train.decay),
        clip=train.clip,
        precision=resolve(train.precision, device()),
        seed=recipe.seed,
        average=Average(model, train.average) if train.average else None,
    )


@dataclass
class Training:
    """A run under way."""

    recipe: Recipe
    folder: RunFolder
    source: Source
    feed: Feed
    model: Model
    provenance: Provenance
    show: Show
    best: dict[str, Any] = field(default_factory=dict)
    """`step` and `score` of the best checkpoint so far, with its held-out `report`."""

    def __post_init__(self) -> None:
        self.steps = self.recipe.train.steps or 1
        self.loop = loop_of(self.recipe, self.model, self.feed, self.steps)
        self._thaw = Thaw(self.model, round(self.recipe.train.unfreeze * (self.recipe.train.horizon or self.steps)))
        self._heldout: Mapping[str, float] = {}
        self._stale = 0
        self._window: list[Sums] = []
        self._tokens, self._waited = 0, 0.0
        self._since = time.perf_counter()

    def resume(self) -> None:
        """Goes on from the last checkpoint, if there is one."""
        checkpoint = self.folder.latest
        if checkpoint is None:
            self.folder.forget_after(0)
            return
        state = self.folder.state(checkpoint)
        if state["run"] != self.provenance.run:
            raise RunError(
                f"{self.folder.home}: the data, the start or the own code of this run has changed since it began; "
                "use another --out"
            )
        self._load(checkpoint)
        window = self.folder.restore(self.loop, checkpoint)
        self._window = [{name: value.to(device()) for name, value in window.items()}] if window else []
        self.best, self._heldout, self._stale = state["best"], state["heldout"], state["stale"]
        self.show.say(f"Going on from step {self.loop.step} of {self.steps}.")

    def go(self, stop: Stop) -> None:
        """All steps that are left, then the model."""
        with closing(self.loop.steps(self.steps)) as steps:
            self._thaw(self.loop.step)
            while not self._given_up and (step := next(steps, None)):
                self._after(step, stop)
                self._thaw(step.number)
        if self._given_up:
            stale = amount(self._stale, "judgement")
            self.show.say(f"No better for {stale}: stopped at step {self.loop.step} of {self.steps}.")
        self._finish()

    @property
    def _given_up(self) -> bool:
        return self._stale >= (self.recipe.train.patience or inf)

    def _after(self, step: Step, stop: Stop) -> None:
        self._heldout = {}  # What was measured at an earlier step says nothing of this one.
        self._note(step)
        due = [step.number % (every or 1) == 0 for every in (self.recipe.evaluate.every, self.recipe.save.every)]
        last = step.number == self.steps
        improved = (due[0] or last) and self._judge()
        last = last or self._given_up
        if due[1] or last or improved or stop.asked:
            self._save()
        if stop.asked and not last:
            raise Stopped(self.folder.home, step.number)

    def _load(self, checkpoint: Path) -> None:
        names, kind = self.model.hf_names(), type(self.model.encoder)
        Checkpoint.open(checkpoint).load_into(self.model, names, optional=(), kind=kind)

    def _note(self, step: Step) -> None:
        self._window.append(step.sums)
        self._tokens += step.tokens
        self._waited += step.waited
        every = ceil(self.steps / _LINES)
        if step.number % every == 0 or step.number == self.steps:
            numbers = self._numbers(step)
            self.folder.log(numbers)
            self.show.step(step.number, self.steps, numbers)

    def _numbers(self, step: Step) -> dict[str, float]:
        """What was learned since the last line."""
        now = time.perf_counter()
        numbers = {
            "step": step.number,
            **self.source.task.report(add(self._window)),
            "lr": step.lr,
            "grad_norm": step.grad_norm,
            "tokens_per_second": self._tokens / (now - self._since),
            "waiting": self._waited / (now - self._since),
        }
        self._window, self._tokens, self._waited, self._since = [], 0, 0.0, now
        return numbers

    def _judge(self) -> bool:
        """Measures the held-out data; whether it is the best so far."""
        started = time.perf_counter()
        with self.loop.judged(), as_written(self.model):
            micro_tokens = self.recipe.train.micro_tokens or MICRO_TOKENS
            sums = measure(self.model, self.source.heldout(micro_tokens), self.loop.precision)
            grades = graded(self.model, self.source.dev, self.loop.precision, micro_tokens)
        self._since += time.perf_counter() - started
        if not sums:
            return False
        self._heldout = self.source.task.report(sums) | grades
        self.folder.log({"step": self.loop.step, "heldout": self._heldout})
        self.show.step(self.loop.step, self.steps, {f"heldout {k}": v for k, v in self._heldout.items()})
        score = self.source.task.score(self._heldout)
        if self.best and score <= self.best["score"]:
            self._stale += 1
            return False
        self._stale = 0
        self.best = {"step": self.loop.step, "score": score, "report": self._heldout}
        return self.recipe.save.model == "best"

    def _save(self) -> None:
        state = {"run": self.provenance.run, "best": self.best, "heldout": self._heldout, "stale": self._stale}
        self.folder.save(self.loop, state, add(self._window), lambda path: self._write(path, self._heldout))
        best = self.best.get("step") if self.recipe.save.model == "best" else None
        prune(self.folder.home, keep=self.recipe.save.keep, best=best)

    def _write(self, path: Path, heldout: Mapping[str, float]) -> None:
        provenance = replace(self.provenance, step=self.loop.step, heldout=heldout)
        writing.write(path, self.model, self.source.tokenizer, provenance)

    def _finish(self) -> None:
        """The final model: that of the last checkpoint or of the best, checked against transformers, with its card."""
        if self.recipe.save.model == "best" and self.best:
            self._heldout, self.loop.step = self.best["report"], self.best["step"]
        self._load(folder_of(self.folder.home, self.loop.step))
        on_mistakes = self._mistakes()
        with self.folder.whole(self.folder.home / "model") as path:
            self._write(path, self._heldout)
            with as_written(self.model):
                writing.check(path, self.model, self.source.tokenizer)
            provenance = replace(self.provenance, step=self.loop.step, heldout=self._heldout)
            writing.write_card(path, self.recipe, provenance, self.model, on_mistakes)
        self.show.say(f"{self.folder.home / 'model'}: the model of step {self.loop.step}, a Hugging Face checkpoint.")

    def _mistakes(self) -> list[str]:
        """Lists what the final model gets wrong of the held-out rows, where that can be said; lines for its card."""
        micro_tokens = self.recipe.train.micro_tokens or MICRO_TOKENS
        with as_written(self.model):
            verdicts = mistakes.verdicts_on(self.model, self.source.dev, self.loop.precision, micro_tokens)
        if verdicts is None:
            return []
        mistakes.write(self.folder.home, verdicts, self.source.dev)
        return mistakes.for_card(verdicts)
