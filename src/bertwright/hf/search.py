"""Search for arguments with Optuna, which is asked for only here."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from transformers.trainer_utils import BestRun, default_hp_space_optuna

from ..errors import RunError
from .arguments import ArgumentError, TrainingArguments
from .face import Face


def search(
    trainer: Face,
    space: Callable[[Any], dict[str, Any]] | None,
    trials: int,
    direction: str | list[str],
    **more: Any,
) -> Any:
    """The best of so many runs: a BestRun, or a list of them where there are several directions.

    `timeout`, `n_jobs` and `gc_after_trial` go to Optuna's `optimize`, the rest to its `create_study`. Raises RunError
    without Optuna or without `model_init`.
    """
    if find_spec("optuna") is None:
        raise RunError("hyperparameter_search is with Optuna, which is not installed: pip install optuna")
    if trainer.model_init is None:
        raise RunError("hyperparameter_search makes a new model for each trial: pass Trainer(model_init=...)")
    optuna = import_module("optuna")
    own = trainer.args
    space = space or default_hp_space_optuna
    optimize = {key: more.pop(key) for key in ("timeout", "n_jobs", "gc_after_trial") if key in more}
    several = isinstance(direction, list)
    study = optuna.create_study(**({"directions": direction} if several else {"direction": direction}), **more)

    def objective(trial: Any) -> Any:
        trainer.objective = None
        trainer.args = _with(own, space(trial))
        trainer.train(trial=trial)
        if trainer.objective is None:
            trainer.objective = trainer.compute_objective(trainer.evaluate())
        return trainer.objective

    try:
        study.optimize(objective, n_trials=trials, **optimize)
    finally:
        trainer.args = own
    if several:
        return [BestRun(str(t.number), t.values, t.params) for t in study.best_trials]
    best = study.best_trial
    return BestRun(str(best.number), best.value, best.params)


def report(trainer: Face, trial: Any, step: int, metrics: dict[str, float]) -> None:
    """Tells a trial what an evaluation gave; raises Optuna's TrialPruned where it is no good."""
    if trial is None:
        return
    trainer.objective = trainer.compute_objective(metrics.copy())
    if hasattr(trial.study, "_is_multi_objective") and not trial.study._is_multi_objective():
        trial.report(trainer.objective, step)
        if trial.should_prune():
            raise import_module("optuna").TrialPruned()


def _with(args: TrainingArguments, found: dict[str, Any]) -> TrainingArguments:
    """The arguments with those of a trial."""
    made = copy(args)
    for name, value in found.items():
        if not hasattr(made, name):
            raise ArgumentError(f"hp_space gives {name!r}, which is no argument of TrainingArguments")
        setattr(made, name, value)
    return made
