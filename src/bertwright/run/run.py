"""A run, from a recipe to a model: the only place where everything meets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from ..data.feed import Feed
from ..encoders import laws
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..errors import RunError
from ..flow import Document
from ..sums import Sums, add
from ..tasks.model import Model
from ..train.average import Average
from ..train.checkpoint import folder_of, prune
from ..train.loop import Loop, Step, measure
from ..train.memory import keep_memory
from ..train.optim import optimizer
from ..train.precision import device, resolve
from ..train.schedule import factor
from . import writing
from .choose import check, task_of, with_defaults, with_lengths
from .drawing import draw
from .provenance import Provenance, descent, versions
from .record import RunFolder
from .sources import Source, open_source
from .spec import SCRATCH, Recipe, seconds
from .start import begin


class Show(Protocol):
    """How a run speaks to whoever watches it."""

    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None: ...


class Stop:
    """Whether somebody asked the run to stop; it does so after the step at hand, with a checkpoint."""

    asked = False


def run(recipe: Recipe, show: Show, stop: Stop | None = None) -> Path:
    """Trains what the recipe says and returns the run's folder.

    The same recipe again goes on from the last checkpoint, to the same weights as without the break, or returns at once
    where the run has finished; with another number of steps it goes on to that, where the schedule allows it. Raises
    the errors of `bertwright.errors` for what a person can mend.
    """
    folder = RunFolder(recipe)
    if changed := folder.take_steps():
        show.say(changed)
    keep_memory()
    if folder.finished:
        show.say(f"{folder.home} is finished; nothing to do.")
        return folder.home
    training = _prepared(recipe, folder, show)
    show.say(training.provenance.sentence())
    show.say(draw(training.provenance.tensors))
    if recipe.encoder.start == SCRATCH and (warning := laws.warning(recipe.encoder.init)):
        show.say(f"Warning: {warning}.")
    training.go(stop or Stop())
    return folder.home


def _prepared(asked: Recipe, folder: RunFolder, show: Show) -> Training:
    """Everything in place for the next step: data, model, optimizer, and what an earlier start has left."""
    known = folder.resolved()
    recipe = known or asked
    check(recipe)
    source = open_source(recipe, task_of(recipe.task, recipe.tasks))
    model, tensors = begin(recipe, source.task, source.tokenizer)
    recipe = known or with_defaults(recipe, source.task, model.encoder.config.hidden_size)
    check(recipe)
    model.set_dropout(recipe.train.dropout or 0.0)
    model.to(device())
    provenance = _provenance(recipe, source, tensors)
    feed = source.feed(recipe)
    if known is None:
        feed(0)  # Data that nothing can be cut from is refused before anything is written.
        recipe = _with_steps(recipe, feed, model)
        folder.begin(recipe)
        feed = source.feed(recipe)
    training = Training(recipe, folder, source, feed, model, provenance, show)
    training.resume()
    return training


def _provenance(recipe: Recipe, source: Source, tensors: list[Any]) -> Provenance:
    loaded = recipe.encoder.start != SCRATCH
    return Provenance(
        task=recipe.task,
        reads="text" if source.task.reads is Document else "rows",
        settings=source.task.settings,
        seed=recipe.seed,
        start=recipe.encoder.start,
        tensors=tensors,
        data=source.facts,
        lineage=descent(checkpoint_folder(recipe.encoder.start) if loaded else None),
        versions=versions(),
    )


def _loop(recipe: Recipe, model: Model, feed: Feed, steps: int) -> Loop:
    train = recipe.train
    warmup = round(train.warmup * (train.horizon or steps))
    rates = {"lr": train.lr or 0.0, "matrix_lr": train.matrix_lr, "weight_decay": train.weight_decay}
    return Loop(
        model,
        feed,
        optimizer(train.optimizer, model, **rates),
        lambda step: factor(train.schedule, step, steps=steps, warmup=warmup, decay=train.decay),
        clip=train.clip,
        precision=resolve(train.precision, device()),
        seed=recipe.seed,
        average=Average(model, train.average) if train.average else None,
    )


def _with_steps(recipe: Recipe, feed: Feed, model: Model) -> Recipe:
    """The recipe with the number of steps, from the epochs or the budget of time where that was given."""
    train = recipe.train
    by_epoch = recipe.evaluate.every is None and train.epochs is not None
    per_epoch = ceil(feed.plan.examples_per_epoch / feed.plan.batch_size) if train.epochs is not None else None
    if train.budget is not None:
        budget = seconds(train.budget)
        steps = max(1, int(budget / _seconds_a_step(recipe, model, feed, at_most=budget / 10)))
    elif train.epochs is not None:
        steps = max(1, ceil(train.epochs * feed.plan.examples_per_epoch / feed.plan.batch_size))
    else:
        steps = train.steps or 1
    return with_lengths(recipe, steps, per_epoch if by_epoch else None)


def _seconds_a_step(recipe: Recipe, model: Model, feed: Feed, at_most: float, warm: int = 3, timed: int = 9) -> float:
    """The median time of a few steps of a copy of the model, which is thrown away; two steps if `at_most` is over."""
    loop = _loop(recipe, deepcopy(model), feed, steps=10_000)
    times = [time.perf_counter()]
    for step in loop.steps(warm + timed):
        times.append(time.perf_counter())
        if step.number > 1 and times[-1] - times[0] > at_most:
            break
    took = [after - before for before, after in pairwise(times)]
    return median(took[min(warm, len(took) - 1) :])


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
        self.loop = _loop(self.recipe, self.model, self.feed, self.steps)
        self._heldout: Mapping[str, float] = {}
        self._window: list[Sums] = []
        self._tokens = 0
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
                f"{self.folder.home}: the data or the start of this run has changed since it began; use another --out"
            )
        self._load(checkpoint)
        window = self.folder.restore(self.loop, checkpoint)
        self._window = [{name: value.to(device()) for name, value in window.items()}] if window else []
        self.best, self._heldout = state["best"], state["heldout"]
        self.show.say(f"Going on from step {self.loop.step} of {self.steps}.")

    def go(self, stop: Stop) -> None:
        """All steps that are left, then the model."""
        for step in self.loop.steps(self.steps):
            self._heldout = {}  # What was measured at an earlier step says nothing of this one.
            self._note(step)
            due = [step.number % (every or 1) == 0 for every in (self.recipe.evaluate.every, self.recipe.save.every)]
            last = step.number == self.steps
            improved = (due[0] or last) and self._judge()
            if due[1] or last or improved or stop.asked:
                self._save()
            if stop.asked and not last:
                raise Stopped(self.folder.home, step.number)
        self._finish()

    def _load(self, checkpoint: Path) -> None:
        names, kind = self.model.hf_names(), type(self.model.encoder)
        Checkpoint.open(checkpoint).load_into(self.model, names, optional=(), kind=kind)

    def _note(self, step: Step) -> None:
        self._window.append(step.sums)
        self._tokens += step.tokens
        every = max(1, self.steps // 500)
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
        }
        self._window, self._tokens, self._since = [], 0, now
        return numbers

    def _judge(self) -> bool:
        """Measures the held-out data; whether it is the best so far."""
        started = time.perf_counter()
        with self.loop.judged():
            sums = measure(self.model, self.source.heldout(), self.loop.precision)
        self._since += time.perf_counter() - started
        if not sums:
            return False
        self._heldout = self.source.task.report(sums)
        self.folder.log({"step": self.loop.step, "heldout": self._heldout})
        self.show.step(self.loop.step, self.steps, {f"heldout {k}": v for k, v in self._heldout.items()})
        score = self.source.task.score(self._heldout)
        if self.best and score <= self.best["score"]:
            return False
        self.best = {"step": self.loop.step, "score": score, "report": self._heldout}
        return self.recipe.save.model == "best"

    def _save(self) -> None:
        state = {"run": self.provenance.run, "best": self.best, "heldout": self._heldout}
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
        with self.folder.whole(self.folder.home / "model") as path:
            self._write(path, self._heldout)
            writing.check(path, self.model, self.source.tokenizer)
            writing.write_card(path, self.recipe, replace(self.provenance, step=self.loop.step, heldout=self._heldout))
        self.show.say(f"{self.folder.home / 'model'}: the model of step {self.loop.step}, a Hugging Face checkpoint.")


class Stopped(Exception):
    """The run was asked to stop, and did after leaving a checkpoint."""

    def __init__(self, home: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.home = home
