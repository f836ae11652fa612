"""A run, from a recipe to a model: the only place where everything meets."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..encoders import laws
from ..encoders.folders import checkpoint_folder
from ..errors import RecipeError
from ..flow import Document, Row
from ..tasks.model import Model
from ..train.loop import Loop
from ..train.memory import keep_memory
from ..train.precision import device
from ..train.threads import threads
from .choose import check, own_files, task_of, with_architecture, with_defaults, with_lengths
from .drawing import draw
from .fitting import fitted
from .footing import footing
from .provenance import Provenance, descent, versions
from .record import RunFolder
from .rows_read import rows_read
from .sources import Source, open_source
from .spec import SCRATCH, Recipe, seconds
from .start import Start, begin, write_words
from .training import Show, Stop, Stopped, Training, loop_of

__all__ = ["Show", "Stop", "Stopped", "run"]


def run(recipe: Recipe, show: Show, stop: Stop | None = None, start: Start = begin) -> Path:
    """Trains what the recipe says and returns the run's folder.

    The same recipe again goes on from the last checkpoint, to the same weights as without the break, or returns at once
    where the run has finished; with another number of steps it goes on to that, where the schedule allows it. `start`
    makes the model. Raises the errors of `bertwright.errors` for what a person can mend.
    """
    with RunFolder(recipe) as folder:
        return _run(recipe, folder, show, stop or Stop(), start)


def _run(recipe: Recipe, folder: RunFolder, show: Show, stop: Stop, start: Start) -> Path:
    if changed := folder.take_steps():
        show.say(changed)
    keeps_memory = keep_memory()
    if folder.finished:
        show.say(f"{folder.home} is finished; nothing to do.")
        return folder.home
    began_before = folder.resolved() is not None
    training = _prepared(recipe, folder, show, start)
    show.say(training.provenance.sentence())
    show.say(draw(training.provenance.tensors))
    for line in rows_read(training.recipe, training.source):
        show.say(line)
    for line in footing(training.recipe, recipe, keeps_memory, began_before):
        show.say(line)
    if recipe.encoder.start == SCRATCH and (warning := laws.warning(recipe.encoder.init)):
        show.say(f"Warning: {warning}.")
    training.go(stop)
    return folder.home


def _prepared(asked: Recipe, folder: RunFolder, show: Show, start: Start) -> Training:
    """Everything in place for the next step: data, model, optimizer, and what an earlier start has left."""
    known = folder.resolved()
    recipe = known or asked
    check(recipe)
    task = task_of(recipe.task, recipe.tasks)
    recipe = with_architecture(recipe, task)
    source = open_source(recipe, task)
    recipe = known or _threaded(fitted(recipe, source))
    torch.set_num_threads(recipe.train.threads or torch.get_num_threads())
    model, tensors = start(recipe, source.task, source.tokenizer)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"nothing would train: {recipe.task} has no weights of its own, and the encoder is frozen")
    if folder.latest is None:
        write_words(recipe, model, source.text)
    recipe = known or with_defaults(recipe, source.task, model.encoder.config.hidden_size)
    check(recipe)
    model.set_dropout(recipe.train.dropout or 0.0)
    model.to(device())
    provenance = _provenance(recipe, source, tensors)
    feed = source.feed(recipe)
    if known is None:
        feed(0)  # Data that nothing can be cut from is refused before anything is written.
        recipe = _with_steps(recipe, source, model)
        folder.begin(recipe)
        feed = source.feed(recipe)
    training = Training(recipe, folder, source, feed, model, provenance, show)
    training.resume()
    return training


def _threaded(recipe: Recipe) -> Recipe:
    return replace(recipe, train=replace(recipe.train, threads=recipe.train.threads or threads()))


def _provenance(recipe: Recipe, source: Source, tensors: list[Any]) -> Provenance:
    loaded = recipe.encoder.start != SCRATCH
    return Provenance(
        task=recipe.task,
        reads="text" if source.task.reads is Document else "rows",
        settings=source.task.settings,
        seed=recipe.seed,
        start=recipe.encoder.start,
        tensors=tensors,
        data=source.facts | _code(recipe.task),
        lineage=descent(checkpoint_folder(recipe.encoder.start) if loaded else None),
        versions=versions(),
    )


def _code(task: str) -> dict[str, Any]:
    """A fingerprint of what a person wrote for a task of their own."""
    digests = {path.name: sha256(path.read_bytes()).hexdigest()[:16] for path in own_files(task)}
    return {"code": digests} if digests else {}


def _with_steps(recipe: Recipe, source: Source, model: Model) -> Recipe:
    """The recipe with the number of steps, from the epochs or the budget of time where that was given."""
    train, plan = recipe.train, source.plan(recipe)
    if train.budget is not None:
        budget = seconds(train.budget)
        steps = max(1, int(budget / _seconds_a_step(recipe, source, model, at_most=budget / 10)))
    elif train.epochs is not None:
        steps = max(1, ceil(train.epochs * plan.examples_per_epoch / plan.batch_size))
    else:
        steps = train.steps or 1
    by_epoch = source.task.reads is Row
    return with_lengths(recipe, steps, ceil(plan.examples_per_epoch / plan.batch_size) if by_epoch else None)


def _seconds_a_step(recipe: Recipe, source: Source, model: Model, at_most: float) -> float:
    """The time of a step in the middle of each of the run's stages, on average over the run.

    Of a copy of the model, which learns nothing and is thrown away.
    """
    steps = recipe.train.horizon or 10_000
    still = replace(recipe, train=replace(recipe.train, steps=steps, lr=0.0, matrix_lr=0.0))
    loop = loop_of(still, deepcopy(model), source.feed(still), steps)
    middles = source.plan(still).middles(steps)
    return sum(share * _median_time(loop, middle, at_most / len(middles)) for middle, share in middles)


def _median_time(loop: Loop[Model], at: int, at_most: float, warm: int = 3, timed: int = 9) -> float:
    """Seconds, of a few steps from the step `at` on; of two if `at_most` is over."""
    loop.step = at
    times = [time.perf_counter()]
    for step in loop.steps(at + warm + timed):
        times.append(time.perf_counter())
        if step.number > at + 1 and times[-1] - times[0] > at_most:
            break
    took = [after - before for before, after in pairwise(times)]
    return median(took[min(warm, len(took) - 1) :])
