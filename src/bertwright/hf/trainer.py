"""Trainer: transformers' names and meanings over the one loop. What a subclass may override has its known meaning."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, default_data_collator
from transformers.data.data_collator import DataCollatorWithPadding
from transformers.trainer_callback import ExportableState
from transformers.trainer_pt_utils import LabelSmoother
from transformers.trainer_utils import (
    PredictionOutput,
    TrainOutput,
    default_compute_objective,
    enable_full_determinism,
    set_seed,
)
from transformers.utils import logging

from ..errors import RunError
from ..tasks.model import Model
from ..train.optim import AnyOptimizer
from ..train.precision import products_in, resolve
from . import columns, evaluating, loading, optimizing, saving
from .arguments import TrainingArguments
from .callbacks import handler_for
from .native import evaluate_natively, train_natively
from .overridden import told
from .reporting import Reporting
from .training import Training
from .weighing import Weighing


class Trainer(Weighing, Reporting):
    """Trains any module whose forward returns a loss, and says how good it is.

    The arguments are those of transformers' class, beyond the first seven by name: `compute_metrics`,
    `compute_loss_func`, `callbacks`, `optimizers`, `optimizer_cls_and_kwargs` and `preprocess_logits_for_metrics`;
    `tokenizer` is the older name of `processing_class`. A step's
    gradient and logged loss do not depend on how it is split: every mean is weighed by the predictions that it is over,
    and a subclass' `compute_loss` gives the mean over its micro-batch, for which `num_items_in_batch` is the count. A
    run that is resumed equals one that was not broken off, bit for bit, also where the collator draws. A
    `bertwright.Model` with a TokenStore trains as `bertwright pretrain` does. Raises BertwrightError for what a person
    can mend.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: transformers.TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        **named: Any,
    ) -> None:
        taken = {"compute_loss_func", "compute_metrics", "callbacks", "optimizers", "preprocess_logits_for_metrics"}
        taken |= {"optimizer_cls_and_kwargs", "tokenizer", "prediction_loss_only"}
        if strange := sorted(named.keys() - taken):
            raise TypeError(f"Trainer takes no {', '.join(strange)}")
        if model is None and model_init is None:
            raise RunError("Trainer has no model: pass model=, or model_init= that makes one")
        self.args = TrainingArguments.of(args or TrainingArguments("tmp_trainer"))
        self.args.prediction_loss_only |= bool(named.get("prediction_loss_only"))
        logging.set_verbosity(self.args.get_process_log_level())
        enable_full_determinism(self.args.seed) if self.args.full_determinism else set_seed(self.args.seed)
        self.model_init = model_init
        self.processing_class = processing_class if processing_class is not None else named.get("tokenizer")
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_metrics = named.get("compute_metrics")
        self.compute_loss_func = named.get("compute_loss_func")
        self.preprocess_logits_for_metrics = named.get("preprocess_logits_for_metrics")
        self.optimizer_cls_and_kwargs = named.get("optimizer_cls_and_kwargs")
        self.optimizer, self.lr_scheduler = named.get("optimizers") or (None, None)
        self._own = (self.optimizer, self.lr_scheduler)
        self._begun = self.is_in_train = False
        self._trial: Any = None
        self._said: set[str] = set()
        self._parts: Any = None
        self.objective: Any = None
        self.compute_objective = default_compute_objective
        tokenizer: Any = self.processing_class
        padding = DataCollatorWithPadding(tokenizer) if hasattr(tokenizer, "pad") else None
        self.data_collator = data_collator or padding or default_data_collator
        self._take_model(model if model is not None else self.call_model_init())
        if self.args.eval_strategy != "no" and eval_dataset is None and not isinstance(self.model, Model):
            strategy = str(getattr(self.args.eval_strategy, "value", self.args.eval_strategy))
            raise RunError(f"eval_strategy={strategy!r} judges an eval_dataset, and none was passed")
        self.label_smoother = self._smoother()
        self.state = TrainerState()
        self.control = TrainerControl()
        self.callback_handler = handler_for(self, named.get("callbacks"))
        kept: list[Any] = [
            one for one in [*self.callback_handler.callbacks, self.control] if isinstance(one, ExportableState)
        ]
        self.state = TrainerState(stateful_callbacks=kept)
        self.control = self.callback_handler.on_init_end(self.args, self.state, self.control)

    @property
    def tokenizer(self) -> Any:
        """The older name of `processing_class`."""
        return self.processing_class

    @property
    def data_seed(self) -> int:
        """The seed of the order of examples and of what collators draw."""
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A new model by `model_init`, which takes a trial or nothing."""
        assert self.model_init is not None
        takes_trial = len(inspect.signature(self.model_init).parameters) == 1
        return self.model_init(trial) if takes_trial else self.model_init()

    def _smoother(self) -> LabelSmoother | None:
        if not self.args.label_smoothing_factor:
            return None
        if getattr(getattr(self.model, "config", None), "problem_type", None) == "multi_label_classification":
            text = "Label smoothing is not compatible with multi-label classification, and is left out."
            warnings.warn(text, UserWarning, stacklevel=3)
            return None
        return LabelSmoother(self.args.label_smoothing_factor)

    def _take_model(self, model: nn.Module) -> None:
        self.model = self.model_wrapped = model.to(self.args.device)
        self.label_names = self.args.label_names or columns.labels_of(model)
        if self.args.activation_checkpointing and hasattr(model, "gradient_checkpointing_enable"):
            model.gradient_checkpointing_enable(self.args.activation_checkpointing_kwargs)  # type: ignore[operator]
        if self.args.torch_compile:
            model.compile(backend=self.args.torch_compile_backend or "inductor", mode=self.args.torch_compile_mode)

    # Data

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The training batches of an epoch. Raises RunError without a training dataset."""
        if self.train_dataset is None:
            raise RunError("Trainer has nothing to train on: pass train_dataset")
        return self._loader(self.train_dataset, self._get_train_sampler, (self.data_seed, "batch"))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """The batches of a dataset, or of the one of `eval_dataset` that has the name; drawn alike each time."""
        if isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset[eval_dataset]
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise RunError("Trainer has nothing to evaluate on: pass eval_dataset")
        return self._loader(dataset, self._get_eval_sampler, (0, "evaluate"))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """The batches of a dataset to predict on."""
        return self._loader(test_dataset, self._get_eval_sampler, (0, "evaluate"))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy == "sequential":
            return torch.utils.data.SequentialSampler(dataset)
        if strategy != "group_by_length":
            return loading.Shuffled(len(dataset), self.data_seed)
        column = self.args.length_column_name
        known = column in (getattr(dataset, "column_names", None) or ())
        main = getattr(self.model, "main_input_name", "input_ids")
        lengths = dataset[column] if known else [len(example[main]) for example in dataset]
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return loading.ByLength(lengths, size, self.data_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return torch.utils.data.SequentialSampler(eval_dataset)

    def _loader(self, dataset: Any, sampler_of: Callable[[Any], Any], words: tuple[int, str]) -> DataLoader[Any]:
        collate: Callable[[list[Any]], Any] = self.data_collator
        kept = columns.taken(self.model)
        if self.args.remove_unused_columns and kept is not None:
            kept = [*kept, *self.label_names, "label", "label_ids"]
            if hasattr(dataset, "remove_columns") and getattr(dataset, "column_names", None):
                dataset = columns.without_unused(dataset, kept, self.model, self._said)
            else:
                collate = columns.Keeping(collate, kept, self.model, self._said)
        counted = not loading.is_stream(dataset) and loading.length_of(dataset) is not None
        sampler = told(sampler_of, dataset) if counted else None
        return loading.loader(self.args, dataset, collate, sampler, words)

    # Optimizer and schedule

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Both, for a run of so many steps."""
        self.create_optimizer()
        told(self.create_scheduler, num_training_steps, self.optimizer)

    def create_optimizer(self, model: nn.Module | None = None) -> AnyOptimizer:
        """The optimizer: the one that was passed, or one as the arguments say."""
        if self.optimizer is None:
            trained = self.model if model is None else model
            decay = self.get_decay_parameter_names(trained)
            if self.optimizer_cls_and_kwargs is None:
                self.optimizer = optimizing.optimizer_for(self.args, trained, decay)
            else:
                kind, settings = self.optimizer_cls_and_kwargs
                self.optimizer = optimizing.of_class(kind, settings, self.args, trained, decay)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule: the one that was passed, or one as the arguments say."""
        if self.lr_scheduler is None:
            chosen = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = optimizing.scheduler_for(self.args, chosen, num_training_steps)
        return self.lr_scheduler

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """The parameters to which weight decay applies."""
        return optimizing.decaying(model)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: transformers.TrainingArguments, model: Any = None) -> tuple[Any, Any]:
        """The class of `args.optim` and its settings, for a `create_optimizer` of one's own."""
        return optimizing.class_and_settings(TrainingArguments.of(args))

    def get_num_trainable_parameters(self) -> int:
        """How many weights train."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def get_learning_rates(self) -> list[float]:
        """That of each group of parameters. Raises RunError before there is an optimizer."""
        return [group["lr"] for group in self._groups]

    def get_optimizer_group(self, param: Tensor | None = None) -> Any:
        """The group that a parameter is in, or all of them. Raises RunError before there is an optimizer."""
        groups = self._groups
        return groups if param is None else next(g for g in groups if any(param is one for one in g["params"]))

    @property
    def _groups(self) -> list[dict[str, Any]]:
        if self.optimizer is None:
            raise RunError("there is no optimizer yet: call create_optimizer() or train() first")
        return self.optimizer.param_groups

    # Training

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Trains, from a checkpoint where one is named, or from the output folder's last for True.

        Raises RunError where the output folder holds another run, and CheckpointError where a checkpoint does not fit.
        """
        if isinstance(self.model, Model):
            return train_natively(self, self.model, resume_from_checkpoint)
        self._trial = trial
        home = self.args.home
        home = home / f"run-{trial.number}" if trial is not None else home
        checkpoint = saving.checkpoint_asked(resume_from_checkpoint, home)
        if checkpoint is None and not self._begun:
            saving.make_room(home, self.args.overwrite_output_dir)
        self._begun = trial is None
        if self.model_init is not None:
            enable_full_determinism(self.args.seed) if self.args.full_determinism else set_seed(self.args.seed)
            self._take_model(self.call_model_init(trial))
            self.optimizer, self.lr_scheduler = self._own
        if self._own[1] is None:
            self.lr_scheduler = None
        if self._own[0] is None:
            self.optimizer = None
        return Training(self, home, ignore_keys_for_eval).go(checkpoint)

    def compute_loss_context_manager(self) -> AbstractContextManager[object]:
        """The precision in which a forward pass runs."""
        return products_in(resolve("bf16" if self.args.bf16 else "fp32", self.args.device), self.args.device)

    # Evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and metrics on a dataset; of several by name, each with its name."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, dict):
            metrics: dict[str, float] = {}
            for name, one in dataset.items():
                metrics |= self.evaluate(one, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        started = time.time()
        if isinstance(self.model, Model):
            judged = self.train_dataset if dataset is None else dataset
            metrics = evaluate_natively(self.args, self.model, judged, metric_key_prefix)
        else:
            loss_only = True if self.compute_metrics is None else None
            output = self.evaluation_loop(
                self.get_eval_dataloader(eval_dataset), "Evaluation", loss_only, ignore_keys, metric_key_prefix
            )
            metrics = self._with_speed(output, metric_key_prefix, started)
        told(self.log, metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Predictions, labels and metrics of a dataset."""
        if isinstance(self.model, Model):
            raise RunError("predict is not for a bertwright.Model: `bertwright predict` answers with its folder")
        started, batches = time.time(), self.get_test_dataloader(test_dataset)
        output = self.evaluation_loop(batches, "Prediction", None, ignore_keys, metric_key_prefix)
        metrics = self._with_speed(output, metric_key_prefix, started)
        self.control = self.callback_handler.on_predict(self.args, self.state, self.control, metrics)
        return PredictionOutput(output.predictions, output.label_ids, metrics)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Goes over batches once and collects what `prediction_step` gives."""
        loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        keeps = description == "Prediction"
        return evaluating.evaluate_over(self, dataloader, loss_only, ignore_keys, metric_key_prefix, keeps)

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Any, Any]:
        """The mean loss, logits and labels of a batch; the latter two None with `prediction_loss_only`."""
        return evaluating.predicted(self, model, inputs, prediction_loss_only, ignore_keys)
