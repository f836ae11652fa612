"""What a recipe leaves open: the task by its name, and the defaults that fit the task and the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Any

from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..encoders.naming import reading
from ..errors import RecipeError, RunError
from ..flow import Document, Row
from ..named import find
from ..tasks.base import Task
from ..tasks.joint import WEIGHTS, Joint
from ..train.compiling import compiles
from ..train.optim import OPTIMIZERS
from ..train.precision import device, resolve
from ..train.schedule import factor, fewest, settled
from .spec import COUNTED, DRAWN, SCRATCH, SHORTEST, Recipe, build, seconds

_DEFAULTS: dict[type, dict[str, Any]] = {
    Document: {"batch_size": 64, "dropout": 0.0},
    Row: {"batch_size": 32, "dropout": 0.1},
}
_HOW_LONG: dict[type, dict[str, Any]] = {Document: {"steps": 10_000}, Row: {"epochs": 3.0}}
_AT_LEAST = {
    "train.batch_size": 1,
    "train.start_batch_size": 1,
    "train.micro_tokens": 1,
    "train.threads": 1,
    "train.steps": 1,
    "train.horizon": 1,
    "train.patience": 1,
    "train.weight_decay": 0,
    "data.length": SHORTEST,
    "data.start_length": SHORTEST,
    "save.keep": 1,
    "save.every": 1,
    "evaluate.every": 1,
    "evaluate.examples": 0,
}
_ABOVE_0 = ("train.lr", "train.matrix_lr", "train.epochs", "train.clip")
_BELOW_1 = ("train.dropout", "train.warmup", "train.decay", "train.growth", "train.average")
_MODEL = {Document: "last", Row: "best"}
HELDOUT_EXAMPLES: dict[type, int] = {Document: 1024, Row: 0}
"""How many held-out examples judge a run that does not say; 0: all."""


def task_of(name: str, settings: Mapping[str, Mapping[str, Any]]) -> Task:
    """The task called `name`, a sum where it is `mlm+nsp`, with its settings; those of a sum hold its weights too.

    Raises RecipeError for unknown names, unknown settings and tasks that do not go together.
    """
    files = file_names(name)
    for unused in settings.keys() - {*files, *([WEIGHTS] if len(files) > 1 else [])}:
        raise RecipeError(f"[tasks.{unused}] is set, and the run's task is {name}")
    kinds = [find("bertwright.tasks", one, Task) for one in name.split("+")]
    parts = tuple(
        build(kind, settings.get(file, {}), f"tasks.{file}.") for file, kind in zip(files, kinds, strict=True)
    )
    return parts[0] if len(parts) == 1 else Joint(parts=parts, weights=_weights(files, settings.get(WEIGHTS, {})))


def _weights(files: list[str], given: Mapping[str, Any]) -> tuple[float, ...]:
    """`[tasks.weights]` as a weight a part; 1 for those that it does not name."""
    if not isinstance(given, Mapping):
        raise RecipeError(f"tasks.{WEIGHTS} is a table of numbers, not {given!r}")
    for name, weight in given.items():
        if name not in files:
            raise RecipeError(f"tasks.weights.{name} is set, and the run's tasks are {', '.join(files)}")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise RecipeError(f"tasks.weights.{name} is a number, not {weight!r}")
    return tuple(float(given.get(file, 1.0)) for file in files)


def with_architecture(recipe: Recipe, task: Task) -> Recipe:
    """The recipe with the architecture filled in: that of the checkpoint which the encoder, or its shape, is from.

    Raises RecipeError when an encoder from scratch is of another one than the task is for.
    """
    if folder := recipe.encoder.like if recipe.encoder.start == SCRATCH else recipe.encoder.start:
        kind = reading(Checkpoint.open(checkpoint_folder(folder)).config.model_type)
        known = kind.__module__.rpartition(".")[2] if kind else recipe.encoder.arch
        return replace(recipe, encoder=replace(recipe.encoder, arch=known))
    named = recipe.encoder.arch
    if named and task.arch and named != task.arch:
        raise RecipeError(
            f"{task.name} is for the architecture {task.arch}, not {named}: leave out --arch (encoder.arch), "
            f"or use --arch {task.arch}"
        )
    return replace(recipe, encoder=replace(recipe.encoder, arch=named or task.arch or "bert"))


def settings_of(name: str, task: Task) -> dict[str, Mapping[str, Any]]:
    """The settings from which `task_of` makes the task again."""
    files = file_names(name)
    if not isinstance(task, Joint):
        return {files[0]: task.settings}
    parts = {file: part.settings for file, part in zip(files, task.parts, strict=True)}
    return {**parts, WEIGHTS: dict(zip(files, task.weights, strict=True))}


def with_columns(task: Task, columns: Mapping[str, str]) -> Task:
    """The task as it reads rows whose columns have other names, by `text_field` and its like; of a sum, its first part.

    Raises RecipeError where that has no such setting.
    """
    settings, first = settings_of(task.name, task), file_names(task.name)[0]
    return task_of(task.name, {**settings, first: {**settings[first], **columns}})


def own_files(name: str) -> list[Path]:
    """The files of a person's own that a task's name mentions."""
    return [Path(one.partition(":")[0]) for one in name.split("+") if ".py" in one]


def file_names(name: str) -> list[str]:
    """`mlm` and `mine` for `mlm+path/mine.py:Mine`."""
    return [one.partition(":")[0].removesuffix(".py").rpartition("/")[2] for one in name.split("+")]


def with_defaults(recipe: Recipe, task: Task, hidden_size: int) -> Recipe:
    """The recipe with the settings filled in that depend on the task, what it reads and how wide the encoder is.

    The peak rate on text is 1e-3 up to a hidden size of 256 and falls with it beyond, twice that beside Muon, which
    takes the matrices; on rows it is 5e-5 at 768 and rises with the cube for narrower encoders, up to 1e-3.
    """
    train = {key: value for key, value in vars(recipe.train).items() if value is not None}
    if task.reads is Document:
        rate = (2e-3 if recipe.train.optimizer == "muon" else 1e-3) * min(1.0, 256 / hidden_size)
    else:
        rate = min(1e-3, 5e-5 * (768 / hidden_size) ** 3)
    filled = {"lr": rate} | _DEFAULTS[task.reads] | ({} if _how_long(recipe) else _HOW_LONG[task.reads]) | train
    examples, start_size = recipe.evaluate.examples, recipe.train.start_batch_size
    filled["start_batch_size"] = filled["batch_size"] if start_size is None else start_size
    return replace(
        recipe,
        tasks=settings_of(recipe.task, task),
        data=replace(recipe.data, start_length=recipe.data.start_length or recipe.data.length),
        train=replace(recipe.train, **filled),
        evaluate=replace(recipe.evaluate, examples=HELDOUT_EXAMPLES[task.reads] if examples is None else examples),
        save=replace(recipe.save, model=recipe.save.model or _MODEL[task.reads]),
    )


def _how_long(recipe: Recipe) -> list[str]:
    return [f"train.{key}" for key in ("steps", "epochs", "budget") if getattr(recipe.train, key) is not None]


def with_lengths(recipe: Recipe, steps: int, steps_per_epoch: int | None) -> Recipe:
    """The recipe with what follows from the number of steps: how often it is judged and saved.

    On text twenty times a run and not more often than every hundred steps, on rows once an epoch; saved as often as
    judged. The steps take the place of the epochs or the budget that they came from, so that the recipe can be run.
    """
    often = max(100, steps // 20) if steps_per_epoch is None else steps_per_epoch
    every = recipe.evaluate.every or often
    return replace(
        recipe,
        train=replace(recipe.train, steps=steps, epochs=None, budget=None),
        evaluate=replace(recipe.evaluate, every=every),
        save=replace(recipe.save, every=recipe.save.every or every),
    )


def going_on_to(recipe: Recipe, steps: int, done: int) -> Recipe:
    """A resolved recipe for another number of steps, when `done` of them are done.

    What settles how a run begins stays with its horizon. Raises RunError when the learning rate of what is done would
    have been another one.
    """
    train = recipe.train
    before, horizon = train.steps or 1, train.horizon or train.steps or 1
    shape, warmup, decay = train.schedule, round(train.warmup * horizon), train.decay
    free = [settled(shape, steps=some, warmup=warmup, decay=decay) for some in (before, steps)]
    if min(free) < done:
        least = fewest(shape, done, warmup=warmup, decay=decay) if free[0] >= done else None
        accepted = f"train.steps = {before}" + ("" if least is None else f", or any from {least} on")
        raise RunError(
            f"{recipe.out}: {done} of {before} steps are done, and with train.steps = {steps} their learning rate "
            f"would have been another; accepted are {accepted}, or another --out, which may start from this one's model"
        )
    return replace(recipe, train=replace(train, steps=steps, horizon=horizon))


def check(recipe: Recipe) -> None:
    """Raises RecipeError for settings that are out of range or exclude each other."""
    train = recipe.train
    if len(how_long := _how_long(recipe)) > 1:
        raise RecipeError(f"{' and '.join(how_long)} are set; only one can say how long the run is")
    if recipe.encoder.like and recipe.encoder.start != SCRATCH:
        raise RecipeError("encoder.like gives its shape to an encoder from scratch; encoder.start is a checkpoint here")
    if recipe.encoder.words not in (DRAWN, COUNTED):
        raise RecipeError(f"encoder.words is {DRAWN} or {COUNTED}, not {recipe.encoder.words!r}")
    if train.budget is not None:
        seconds(train.budget)
    factor(train.schedule, 0, steps=1, warmup=0)
    resolve(train.precision, device())
    compiles(train.compile, device())
    if train.optimizer not in OPTIMIZERS:
        raise RecipeError(f"unknown optimizer {train.optimizer!r}; known are {', '.join(OPTIMIZERS)}")
    if recipe.save.model not in (None, "last", "best"):
        raise RecipeError(f"save.model is last or best, not {recipe.save.model!r}")
    _check_numbers(recipe)


def _check_numbers(recipe: Recipe) -> None:
    """Raises RecipeError for numbers that are out of range."""
    for name, least in _AT_LEAST.items():
        value = attrgetter(name)(recipe)
        if value is not None and value < least:
            raise RecipeError(f"{name} is at least {least}, not {value}")
    for name in _ABOVE_0:
        value = attrgetter(name)(recipe)
        if value is not None and not 0 < value < inf:
            raise RecipeError(f"{name} is a number above 0, not {value}")
    for name in _BELOW_1:
        share = attrgetter(name)(recipe)
        if share is not None and not 0 <= share < 1:
            raise RecipeError(f"{name} is a share from 0 up to 1, not {share}")
    train, data = recipe.train, recipe.data
    growing = {"batch_size": (train.start_batch_size, train.batch_size), "length": (data.start_length, data.length)}
    for name, (start, end) in growing.items():
        if start is not None and end is not None and start > end:
            raise RecipeError(f"start_{name} is at most {name}, which is {end}, not {start}")
    if not 0 < train.layer_decay <= 1:
        raise RecipeError(f"train.layer_decay is a factor above 0 and up to 1, not {train.layer_decay}")
    if not 0 <= train.unfreeze <= 1:
        raise RecipeError(f"train.unfreeze is a share from 0 to 1, not {train.unfreeze}")
