"""A Trainer's run over the one loop: what is logged, judged and saved of its steps, and what callbacks hear of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from math import ceil, inf
from pathlib import Path
from sys import maxsize
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy, TrainOutput, speed_metrics

from ..data.ahead import on_demand
from ..errors import RunError
from ..train.loop import Loop, Step
from ..train.memory import keep_memory
from ..train.optim import Several
from ..train.precision import resolve
from . import saving
from .face import Face
from .inputs import Epochs, Exhausted
from .loading import length_of
from .losses import Summed, loss_of
from .optimizing import name_parameters
from .overridden import told
from .starting import sentence

logger = logging.getLogger(__name__)


class Training:
    """One call of `Trainer.train`."""

    def __init__(self, trainer: Face, home: Path, ignore_keys: list[str] | None) -> None:
        self.trainer, self.home, self._ignore_keys = trainer, home, ignore_keys
        args = trainer.args
        batches = trainer.get_train_dataloader()
        self._length = length_of(batches)
        if self._length is None and args.max_steps <= 0:
            raise RunError(
                f"the training data, a {type(trainer.train_dataset).__name__}, has no length, so its epochs cannot be "
                "counted: pass max_steps"
            )
        self.epochs = Epochs(
            batches,
            trainer._counts,
            length=self._length,
            accumulation=args.gradient_accumulation_steps,
            seed=trainer.data_seed,
        )
        per_epoch = self.epochs.steps_per_epoch
        self.steps = args.max_steps if args.max_steps > 0 else ceil(args.num_train_epochs * (per_epoch or 0))
        if self._length == 0 or self.steps < 1:
            raise RunError(
                f"there is no step to train: {self._length} batches an epoch, num_train_epochs={args.num_train_epochs}"
            )
        self._batches = batches
        self._losses: list[float] = []
        self._window: list[float] = []

    def go(self, checkpoint: Path | None) -> TrainOutput:
        """All steps, from a checkpoint where there is one."""
        trainer, args = self.trainer, self.trainer.args
        keep_memory()
        self._begin_state()
        trainer.create_optimizer_and_scheduler(self.steps)
        name_parameters(trainer.optimizer, trainer.model)
        if checkpoint is not None:
            saving.resume(trainer, checkpoint)
            self._take_intervals()
        trainer.state.init_training_references(trainer, self.steps, self._num_epochs(), trainer._trial)
        loop = self._loop()
        loop.step = trainer.state.global_step
        logger.warning(sentence(trainer.model))
        started, first = time.time(), loop.step
        trainer._heard_tokens = trainer.state.num_input_tokens_seen
        trainer.is_in_train = True
        hooks = self._hooks()
        try:
            trainer.control = trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
            if args.eval_on_start:
                self._evaluate(into_schedule=False)
            self._all(loop, started)
        finally:
            trainer.is_in_train = False
            for hook in hooks:
                hook.remove()
        return self._finish(started, loop.step - first)

    def _num_epochs(self) -> int:
        per_epoch = self.epochs.steps_per_epoch
        return maxsize if per_epoch is None else ceil(self.steps / per_epoch)

    def _begin_state(self) -> None:
        trainer = self.trainer
        kept: list[Any] = [
            one for one in [*trainer.callback_handler.callbacks, trainer.control] if isinstance(one, ExportableState)
        ]
        trainer.state = TrainerState(stateful_callbacks=kept)
        trainer.state.is_hyper_param_search = trainer._trial is not None
        self._take_intervals()

    def _take_intervals(self) -> None:
        """How often to log, judge and save is as the arguments of now say, also where a run goes on."""
        self.trainer.state.train_batch_size = self.trainer.args.train_batch_size
        self.trainer.state.compute_steps(self.trainer.args, self.steps)

    def _loop(self) -> Loop[Summed]:
        trainer, args = self.trainer, self.trainer.args
        handler = trainer.callback_handler
        handler.model, handler.optimizer, handler.lr_scheduler = trainer.model, trainer.optimizer, trainer.lr_scheduler
        handler.train_dataloader = self._batches
        return Loop(
            Summed(trainer),
            self.epochs,
            trainer.optimizer,
            None,
            clip=args.max_grad_norm or inf,
            precision=resolve("bf16" if args.bf16 else "fp32", args.device),
            seed=args.seed,
        )

    def _hooks(self) -> list[Any]:
        """Has callbacks hear of the optimizer's step, and the schedule follow it."""
        trainer = self.trainer
        parts = trainer.optimizer.parts if isinstance(trainer.optimizer, Several) else [trainer.optimizer]

        def before(*_: Any) -> None:
            control = trainer.callback_handler.on_pre_optimizer_step(trainer.args, trainer.state, trainer.control)
            trainer.control = control

        def after(*_: Any) -> None:
            control = trainer.callback_handler.on_optimizer_step(trainer.args, trainer.state, trainer.control)
            trainer.control = control
            # While gradients are there: AdafactorSchedule asks for the rate of what has one.
            if not _waits_for_metrics(trainer.lr_scheduler):
                trainer.lr_scheduler.step()

        return [parts[0].register_step_pre_hook(before), parts[-1].register_step_post_hook(after)]

    def _all(self, loop: Loop[Summed], started: float) -> None:
        trainer, handler = self.trainer, self.trainer.callback_handler
        most = ceil(trainer.args.num_train_epochs) if trainer.args.max_steps <= 0 else maxsize
        with closing(loop.steps(self.steps, on_demand)) as steps:
            begun = step = None
            while loop.step < self.steps and not trainer.control.should_training_stop:
                epoch = self.epochs.position(loop.step)[0]
                if epoch >= most:  # Some were left before their end.
                    break
                if epoch != begun:
                    begun = epoch
                    trainer.control = handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
                try:
                    step = next(steps)
                except Exhausted as end:
                    logger.warning(f"{end}: training stops after step {loop.step} of {self.steps}.")
                    if step is not None:
                        self._end_epoch(step, started)
                    break
                self._after(step, started)
                if trainer.control.should_epoch_stop:
                    self.epochs.end(step.number)
                stops = trainer.control.should_training_stop or step.number == self.steps
                if stops or self.epochs.position(step.number)[0] != epoch:
                    self._end_epoch(step, started)

    def _end_epoch(self, step: Step, started: float) -> None:
        trainer = self.trainer
        trainer.control = trainer.callback_handler.on_epoch_end(trainer.args, trainer.state, trainer.control)
        self._what_is_due(step, started)

    def _after(self, step: Step, started: float) -> None:
        trainer, state = self.trainer, self.trainer.state
        self._window.append(loss_of(step.sums))
        state.global_step = step.number
        state.epoch = self.epochs.progress(step.number, self.steps)
        if trainer.args.include_num_input_tokens_seen != "no":
            state.num_input_tokens_seen += trainer._take_tokens()
        trainer.control = trainer.callback_handler.on_step_end(trainer.args, state, trainer.control)
        self._what_is_due(step, started)

    def _what_is_due(self, step: Step, started: float) -> None:
        """Logs, judges and saves as callbacks asked for."""
        trainer = self.trainer
        if trainer.control.should_log and self._window:
            numbers = {
                "loss": sum(self._window) / len(self._window),
                "grad_norm": step.grad_norm,
                "learning_rate": step.lr,
            }
            self._losses += self._window
            self._window = []
            told(trainer.log, numbers, started)
        if trainer.control.should_evaluate:
            better = trainer._is_best(self._evaluate(into_schedule=True))
            if trainer.args.save_strategy == SaveStrategy.BEST:
                trainer.control.should_save = better
        if trainer.control.should_save:
            trainer._save_checkpoint(trainer.model, trainer._trial)
            trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)

    def _evaluate(self, *, into_schedule: bool) -> dict[str, float]:
        trainer = self.trainer
        metrics = told(trainer.evaluate, ignore_keys=self._ignore_keys)
        trainer._report_to_hp_search(trainer._trial, trainer.state.global_step, metrics)
        if into_schedule and _waits_for_metrics(trainer.lr_scheduler):
            trainer.lr_scheduler.step(trainer._best_value(metrics))
        return metrics

    def _finish(self, started: float, done: int) -> TrainOutput:
        trainer, args, state = self.trainer, self.trainer.args, self.trainer.state
        self._losses += self._window
        loss = sum(self._losses) / max(len(self._losses), 1)
        samples = done * args.train_batch_size * args.gradient_accumulation_steps
        metrics = speed_metrics("train", started, num_samples=samples, num_steps=done)
        metrics |= {"total_flos": state.total_flos, "train_loss": loss}
        told(trainer.log, metrics)
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            saving.load_best(trainer, self.home)
        trainer.control = trainer.callback_handler.on_train_end(args, state, trainer.control)
        return TrainOutput(state.global_step, loss, metrics)


def _waits_for_metrics(scheduler: Any) -> bool:
    return isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) or type(scheduler).__name__ == "GreedyLR"


def best_value(metrics: Mapping[str, float], wanted: str | None) -> float:
    """The metric that says which model is the best. Raises RunError when the evaluation did not give it."""
    name = wanted if wanted is None or wanted.startswith("eval_") else f"eval_{wanted}"
    if name is None or name not in metrics:
        raise RunError(
            f"metric_for_best_model is {wanted!r}, and the evaluation gave {', '.join(metrics)}; have compute_metrics "
            "return it, or name one of these"
        )
    return metrics[name]
