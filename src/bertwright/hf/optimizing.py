"""The optimizer and the learning-rate schedule that arguments name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Adafactor, get_scheduler

from ..train.muon import StackedMuon
from ..train.optim import AnyOptimizer, Named, Several
from .arguments import ArgumentError, TrainingArguments

_MATRIX_LR = 0.02


def decaying(model: nn.Module) -> list[str]:
    """The parameters that decay: all but biases and norms, as in transformers."""
    plain = {id(p) for m in model.modules() if "norm" in type(m).__name__.lower() for p in m.parameters(recurse=False)}
    return [n for n, p in model.named_parameters() if id(p) not in plain and not n.lower().endswith("bias")]


def optimizer_for(args: TrainingArguments, model: nn.Module, decay: list[str]) -> AnyOptimizer:
    """The optimizer called `args.optim` for all that trains; those named in `decay` decay.

    `muon` takes the matrices of layers (see `train.optim.muon`), AdamW the rest.
    """
    kind = str(getattr(args.optim, "value", args.optim))
    extra = _extra(args.optim_args)
    trained: list[Named] = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if kind != "muon":
        return _single(kind, args, _groups(trained, decay, args.weight_decay), extra)
    hidden = [(n, p) for n, p in trained if p.ndim == 2 and (".layer." in n or ".layers." in n)]
    names = {name for name, _ in hidden}
    rest = _groups([(n, p) for n, p in trained if n not in names], decay, args.weight_decay)
    matrix_lr = float(extra.pop("matrix_lr", _MATRIX_LR))
    muon = StackedMuon(hidden, {}, matrix_lr, args.weight_decay)
    return Several([_single("adamw_torch_fused", args, rest, extra), muon])


def of_class(
    kind: type[torch.optim.Optimizer],
    settings: dict[str, Any],
    args: TrainingArguments,
    model: nn.Module,
    decay: list[str],
) -> torch.optim.Optimizer:
    """An optimizer of that class for all that trains, in the groups that transformers makes."""
    trained: list[Named] = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = settings.get("params") or _groups(trained, decay, args.weight_decay)
    return kind(groups, **{name: value for name, value in settings.items() if name != "params"})


def name_parameters(optimizer: AnyOptimizer, model: nn.Module) -> None:
    """Tells an optimizer of somebody's own what its parameters are called, so that its state can be kept by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        known = [names.get(id(p), f"parameter {index}") for index, p in enumerate(group["params"])]
        group.setdefault("param_names", known)


def scheduler_for(args: TrainingArguments, optimizer: AnyOptimizer, steps: int) -> Any:
    """The schedule called `args.lr_scheduler_type`, of one optimizer or of each of several."""
    parts = optimizer.parts if isinstance(optimizer, Several) else [optimizer]
    made = [
        get_scheduler(
            args.lr_scheduler_type,
            optimizer=part,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=dict(args.lr_scheduler_kwargs or {}),  # type: ignore[arg-type]
        )
        for part in parts
    ]
    return made[0] if len(made) == 1 else Together(made)


class Together:
    """Schedules of several optimizers under the face of one."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def step(self, *metrics: float) -> None:
        for part in self.parts:
            part.step(*metrics)

    def get_last_lr(self) -> list[float]:
        return [rate for part in self.parts for rate in part.get_last_lr()]

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, one in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(one)


def _groups(named: list[Named], decay: list[str], weight_decay: float) -> list[dict[str, Any]]:
    decays = set(decay)
    groups = [
        {"params": [(n, p) for n, p in named if (n in decays) is wanted], "weight_decay": amount}
        for wanted, amount in ((True, weight_decay), (False, 0.0))
    ]
    return [group for group in groups if group["params"]]


def _single(
    kind: str, args: TrainingArguments, groups: list[dict[str, Any]], extra: dict[str, Any]
) -> torch.optim.Optimizer:
    cls, settings = _of_kind(kind, args, extra)
    return cls(groups, **settings)


def class_and_settings(args: TrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class of `args.optim` and what it is made with besides parameters; of `muon`, of what is no matrix."""
    kind = str(getattr(args.optim, "value", args.optim))
    return _of_kind("adamw_torch_fused" if kind == "muon" else kind, args, _extra(args.optim_args))


def _of_kind(
    kind: str, args: TrainingArguments, extra: dict[str, Any]
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    settings = {"lr": args.learning_rate, **extra}
    if kind in ("adamw_torch", "adamw_torch_fused"):
        betas, fused = (args.adam_beta1, args.adam_beta2), kind == "adamw_torch_fused"
        return torch.optim.AdamW, {"betas": betas, "eps": args.adam_epsilon, "fused": fused, **settings}
    if kind == "adafactor":
        return Adafactor, {"lr": args.learning_rate, "scale_parameter": False, "relative_step": False}
    known = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop}
    return known[kind], settings


def _extra(text: str | None) -> dict[str, Any]:
    """`a=1,b=0.5` as numbers by name. Raises ArgumentError for anything else."""
    try:
        return {key.strip(): float(value) for key, value in (one.split("=") for one in (text or "").split(",") if one)}
    except ValueError as error:
        raise ArgumentError(f"optim_args is numbers by name, as in 'matrix_lr=0.02', not {text!r}") from error
