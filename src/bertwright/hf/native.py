"""A `bertwright.Model` with a TokenStore under a Trainer: the run of `bertwright pretrain`, with its folder.

What the arguments do not say has the defaults of a recipe's settings, neither transformers' nor a shipped recipe's.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import TrainOutput

from ..data.store import TokenStore
from ..encoders.exchange import Checkpoint
from ..encoders.sizes import SIZES
from ..errors import RunError
from ..flow import Document
from ..run.choose import HELDOUT_EXAMPLES, settings_of
from ..run.record import RunFolder
from ..run.run import run
from ..run.sources import labelled_once, store_examples
from ..run.spec import MICRO_TOKENS, SCRATCH, Data, Encoder, Evaluate, Recipe, Save, Train
from ..run.start import given
from ..run.training import Stop, Stopped
from ..tasks.model import Model
from ..train.loop import measure
from ..train.precision import resolve
from .arguments import ArgumentError, TrainingArguments
from .face import Face
from .overridden import told

logger = logging.getLogger(__name__)
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
_SCHEDULES |= {"warmup_stable_decay": "trapezoid"}
_OPTIMIZERS = {"adamw_torch": "adamw", "adamw_torch_fused": "adamw", "muon": "muon"}
_READ = frozenset(
    """output_dir max_steps num_train_epochs per_device_train_batch_size gradient_accumulation_steps learning_rate
    lr_scheduler_type warmup_steps weight_decay max_grad_norm bf16 optim seed eval_steps save_steps save_total_limit
    load_best_model_at_end torch_compile logging_steps disable_tqdm report_to run_name""".split()
)
_BY_STEPS = ("eval_strategy", "save_strategy", "logging_strategy")
"""Read where they say what is done anyhow."""
_UNREAD = ("eval_dataset", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics", "optimizer",
           "lr_scheduler", "optimizer_cls_and_kwargs", "model_init")  # fmt: skip
"""What a Trainer may be made with besides."""


class Told:
    """What a run says, told to a Trainer's callbacks."""

    def __init__(self, trainer: Face, stop: Stop) -> None:
        self._trainer, self._stop, self._begun = trainer, stop, False
        self._every = _every(trainer.args, "logging_steps") if "logging_steps" in trainer.args.given else 1
        self._logged = 0

    def say(self, text: str) -> None:
        logger.warning(text)

    def begin(self, steps: int = 0) -> None:
        """Once, when it is known how many steps there are."""
        trainer = self._trainer
        if not self._begun:
            self._begun, trainer.state.max_steps = True, steps
            handler = trainer.callback_handler
            trainer.control = handler.on_train_begin(trainer.args, trainer.state, trainer.control)

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        """A step in the run's metrics, which is all that callbacks hear of, or what the held-out data say at it."""
        self.begin(steps)
        trainer, learned = self._trainer, "lr" in numbers
        trainer.state.global_step, trainer.state.epoch = done, done / steps
        due = done == steps or done - self._logged >= self._every
        if due or not learned:
            told(trainer.log, {name: value for name, value in numbers.items() if name != "step"})
        if learned:
            self._logged = done if due else self._logged
            trainer.control = trainer.callback_handler.on_step_end(trainer.args, trainer.state, trainer.control)
        self._stop.asked = trainer.control.should_training_stop


def train_natively(trainer: Face, model: Model, resume_from: str | bool | None) -> TrainOutput:
    """`Trainer.train` of a model of this package: the output folder is the run's, which goes on by itself.

    Raises RunError when there is no TokenStore to train on, and for another checkpoint to go on from.
    """
    if not isinstance(resume_from, bool | None):
        asked = f"resume_from_checkpoint={resume_from!r}"
        raise RunError(f"a run on a TokenStore goes on in its own folder by itself; leave out {asked}")
    if unread := [name for name in _UNREAD if getattr(trainer, name, None) is not None]:
        logger.warning(f"A run on a TokenStore does not read {', '.join(unread)}.")
    store = _store("trains on", "train_dataset", trainer.train_dataset)
    recipe, stop, handler = recipe_of(trainer.args, model, store), Stop(), trainer.callback_handler
    told = Told(trainer, stop)
    try:
        home = run(recipe, told, stop, given(model))
        names, kind = model.hf_names(), type(model.encoder)
        Checkpoint.open(home / "model").load_into(model, names, optional=(), kind=kind)
    except Stopped as stopped:
        home = stopped.home
    told.begin()
    trainer.control = handler.on_train_end(trainer.args, trainer.state, trainer.control)
    lines = [line for line in RunFolder(recipe).metrics() if "lr" in line]
    last: Mapping[str, Any] = lines[-1] if lines else {"step": 0}
    loss = sum(value for name, value in last.items() if name == "loss" or name.endswith(".loss"))
    return TrainOutput(last["step"], loss, {"train_loss": loss})


def evaluate_natively(args: TrainingArguments, model: Model, dataset: Any, prefix: str) -> dict[str, float]:
    """`Trainer.evaluate` of a model of this package: what its run says of the held-out part of a store, and its loss.

    Raises RunError for what is no TokenStore, and where nothing is held out.
    """
    store = _store("is judged by", "eval_dataset", dataset)
    wanted = HELDOUT_EXAMPLES[Document]
    examples = store_examples(str(store.path), model.task, store.tokenizer, Data().length, wanted)
    batches = labelled_once(model.task, examples, store.tokenizer, MICRO_TOKENS)
    sums = measure(model, batches, resolve(_train(args).precision, args.device))
    if not sums:
        raise RunError(f"{store.path} holds nothing out to be judged by; prepare it with --heldout")
    report = model.task.report(sums)
    loss = sum(value for name, value in report.items() if name.endswith(".loss"))
    return {f"{prefix}_loss": loss} | {f"{prefix}_{name}": value for name, value in report.items()}


def _store(does: str, argument: str, dataset: Any) -> TokenStore:
    if isinstance(dataset, TokenStore):
        return dataset
    raise RunError(
        f"a bertwright.Model {does} a TokenStore, and {argument} is a {type(dataset).__name__}; for datasets of rows "
        "there are bertwright's Bert... classes, or `bertwright finetune`"
    )


def save_natively(home: Path, path: Path) -> None:
    """Copies the model of a run's folder. Raises RunError when it has none yet."""
    if not (home / "model").is_dir():
        raise RunError(f"{home} holds no model yet: call train() first")
    if path.resolve() != (home / "model").resolve():
        shutil.copytree(home / "model", path, dirs_exist_ok=True)


def recipe_of(args: TrainingArguments, model: Model, store: TokenStore) -> Recipe:
    """The recipe that arguments come to: those that were passed, and the command's defaults for the others."""
    by_steps = {name for name in _BY_STEPS if getattr(args, name) == "steps"}
    if unread := sorted(args.given - _READ - by_steps):
        logger.warning(f"A run on a TokenStore does not read {', '.join(unread)}.")
    encoder = model.encoder
    arch = type(encoder).__module__.rpartition(".")[2]
    size = next((n for n, s in SIZES.items() if (s.layers, s.hidden) == _shape(encoder.config)), "as made in Python")
    name = model.task.name
    asked = args.given
    return Recipe(
        out=str(args.output_dir),
        task=name,
        tasks=settings_of(name, model.task),
        seed=args.seed if "seed" in asked else 1,
        data=Data(store=str(store.path)),
        encoder=Encoder(size=size, arch=arch, start=encoder.loaded_from or SCRATCH),
        train=_train(args),
        evaluate=Evaluate(every=_every(args, "eval_steps") if "eval_steps" in asked and args.eval_steps else None),
        save=_save(args),
    )


def _train(args: TrainingArguments) -> Train:
    asked, made = args.given, Train()
    if "max_steps" in asked and args.max_steps > 0:
        made = replace(made, steps=args.max_steps)
    elif "num_train_epochs" in asked:
        made = replace(made, epochs=float(args.num_train_epochs))
    if {"per_device_train_batch_size", "gradient_accumulation_steps"} & asked:
        made = replace(made, batch_size=args.train_batch_size * args.gradient_accumulation_steps)
    if "warmup_steps" in asked:
        if args.warmup_steps >= 1 and made.steps is None:
            raise ArgumentError("warmup_steps in steps needs max_steps on a TokenStore; or give it as a share below 1")
        share = args.warmup_steps / made.steps if args.warmup_steps >= 1 and made.steps else args.warmup_steps
        made = replace(made, warmup=float(share))
    plain = {"learning_rate": "lr", "weight_decay": "weight_decay", "max_grad_norm": "clip"}
    made = replace(made, **{own: float(getattr(args, name)) for name, own in plain.items() if name in asked})
    if "bf16" in asked:
        made = replace(made, precision="bf16" if args.bf16 else "fp32")
    if "torch_compile" in asked:
        made = replace(made, compile="on" if args.torch_compile else "off")
    if "lr_scheduler_type" in asked:
        made = replace(made, schedule=_one_of(_SCHEDULES, "lr_scheduler_type", args.lr_scheduler_type))
    return replace(made, optimizer=_one_of(_OPTIMIZERS, "optim", args.optim)) if "optim" in asked else made


def _save(args: TrainingArguments) -> Save:
    asked, made = args.given, Save()
    if "save_steps" in asked:
        made = replace(made, every=_every(args, "save_steps"))
    if "save_total_limit" in asked and args.save_total_limit:
        made = replace(made, keep=args.save_total_limit)
    return replace(made, model="best" if args.load_best_model_at_end else "last")


def _every(args: TrainingArguments, name: str) -> int:
    """An interval in steps, which below 1 is given as a share of them all."""
    given = getattr(args, name)
    if given >= 1:
        return int(given)
    if args.max_steps <= 0:
        raise ArgumentError(f"{name}={given} is a share of the steps, and needs max_steps on a TokenStore")
    return ceil(given * args.max_steps)


def _one_of(known: Mapping[str, str], name: str, value: Any) -> str:
    value = str(getattr(value, "value", value))
    if value not in known:
        raise ArgumentError(f"{name}={value!r} is not for a TokenStore; accepted are {', '.join(known)}")
    return known[value]


def _shape(config: Any) -> tuple[int, int]:
    return config.num_hidden_layers, config.hidden_size
