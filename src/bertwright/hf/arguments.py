"""TrainingArguments: transformers' own, which also understands the names that it had since 3.0 and says what became of
each."""

from __future__ import annotations

import dataclasses
import difflib
import os
import warnings
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.trainer_utils import SaveStrategy

from ..errors import RecipeError
from ..train.precision import device
from .argument_states import DEFAULTS_OF_REMOVED, IGNORED, KNOWN, REFUSED, TRANSLATED

OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "muon", "adafactor", "sgd", "adagrad", "rmsprop")
_LIKE_ADAMW = ("adamw_hf", "adamw_apex_fused", "adamw_torch_xla", "adamw_torch_npu_fused")
_FIELDS = {field.name: field.default for field in dataclasses.fields(transformers.TrainingArguments)}


class ArgumentError(RecipeError, TypeError):
    """An argument is unknown, has no meaning here, or does not go with the others."""


class _Understanding(type):
    """Makes arguments of names old and new, of `TrainingArguments` and of a dataclass over it alike."""

    def __call__(cls, output_dir: str | None = None, *others: Any, **named: Any) -> Any:
        if others:
            raise ArgumentError(
                f"{cls.__name__} takes output_dir by position and all others by name; {others[0]!r} has none"
            )
        own = {field.name for field in dataclasses.fields(cls) if field.init} - _FIELDS.keys()  # type: ignore[arg-type]
        _refuse_unknown(named, own)
        _refuse_several_processes()
        today = {name: value for name, value in named.items() if name in own} | {"output_dir": output_dir}
        today |= _today(named)
        _save_where_judged(today)
        muon = today.get("optim") == "muon"
        # transformers does not know Muon, so it is put in its place afterwards.
        theirs: dict[str, Any] = {**today, "optim": "adamw_torch"} if muon else today
        try:
            made = super().__call__(**theirs)
        except (TypeError, ValueError) as error:
            raise ArgumentError(" ".join(str(error).split())) from error
        if muon:
            made.optim = "muon"
        made.given = frozenset(today)
        return made


@dataclasses.dataclass(repr=False, eq=False)
class TrainingArguments(transformers.TrainingArguments, metaclass=_Understanding):
    """How a Trainer trains: every argument that transformers' class had for a run from 3.0 to 5.24, by name.

    `docs/training-arguments.md` says of each whether it is done, translated, ignored or refused; nothing is so in
    silence. To callbacks it is transformers' class. Raises ArgumentError for an unknown name, a refused argument and
    values that do not go together.
    """

    overwrite_output_dir: bool = False
    """Whether a folder that holds another run is written over."""
    logging_dir: str | None = None
    """Where TensorBoard's files go; None: below the output folder."""
    given: frozenset[str] = dataclasses.field(default=frozenset(), init=False)
    """Today's names of what was passed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_values(self)

    def __getattr__(self, name: str) -> Any:
        """An argument by a name that it had once, by which code may ask for it, as `evaluation_strategy`."""
        if name in TRANSLATED and (today := TRANSLATED[name].today) in _FIELDS:
            return getattr(self, today)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def of(cls, args: transformers.TrainingArguments) -> TrainingArguments:
        """Those of transformers' own class as arguments of this one, with what a class on top of it has besides."""
        if isinstance(args, cls):
            return args
        values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args) if field.init}
        # What is as it comes was not asked for.
        plain = transformers.TrainingArguments(args.output_dir)
        asked = {name: value for name, value in values.items() if name in _FIELDS and value != getattr(plain, name)}
        made = cls(args.output_dir, **asked)
        for name in values.keys() - _FIELDS.keys():
            setattr(made, name, values[name])
        return made

    @property
    def home(self) -> Path:
        """The output folder."""
        return Path(self.output_dir or "trainer_output")

    @cached_property
    def _setup_devices(self) -> torch.device:
        self.distributed_state = None
        chosen = torch.device("cpu") if self.use_cpu else device()
        self._n_gpu = int(chosen.type == "cuda")
        return chosen

    def _validate_args(self) -> None:
        # transformers has bf16 on a CPU only after use_cpu=True; here it is bf16 wherever the hardware has it.
        bf16, self.bf16, self.bf16_full_eval = self.bf16, False, False
        super()._validate_args()
        self.bf16 = bf16


def _refuse_unknown(named: Mapping[str, Any], own: Collection[str]) -> None:
    for name in named:
        if name not in KNOWN and name not in _FIELDS and name not in own:
            near = difflib.get_close_matches(name, KNOWN, 1)
            meant = f"did you mean {near[0]}?" if near else "docs/training-arguments.md lists those that there are"
            raise ArgumentError(f"TrainingArguments has no argument {name!r}; {meant}")


def _refuse_several_processes() -> None:
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise ArgumentError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and training is on one device in one process; start the script "
            "without torchrun or accelerate launch"
        )


def _today(named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by today's names; says what is translated and ignored, and raises for what is refused."""
    today = {name: value for name, value in named.items() if name in _FIELDS and name not in TRANSLATED}
    for name, value in named.items():
        if name in REFUSED and not _asks_nothing(name, value):
            raise ArgumentError(f"{name}={value!r} is refused: {REFUSED[name]}; leave it out")
        if name in IGNORED:
            today.pop(name, None)
            if not _asks_nothing(name, value):
                _warn(f"{name}={value!r} is ignored: {IGNORED[name]}.")
        if name in TRANSLATED and not (name in {*_FIELDS, *DEFAULTS_OF_REMOVED} and _asks_nothing(name, value)):
            _warn(f"{name}: today that is {TRANSLATED[name].today}.")
            for other, translated in TRANSLATED[name].into(value).items():
                if _asks_nothing(other, today.get(other, _FIELDS[other])):
                    today[other] = translated
    if today.get("optim") in _LIKE_ADAMW:
        _warn(f"optim={str(today['optim'])!r}: today that is optim='adamw_torch_fused'.")
        today["optim"] = "adamw_torch_fused"
    return today


def _save_where_judged(today: dict[str, Any]) -> None:
    """Saves at each evaluation, as `load_best_model_at_end` meant up to 4.2, where defaults do not go with it."""
    if not today.get("load_best_model_at_end") or "save_strategy" in today:
        return
    strategy = today.get("eval_strategy", "no")
    strategy = str(getattr(strategy, "value", strategy))
    every: Any = today.get("eval_steps") or today.get("logging_steps") or _FIELDS["logging_steps"]
    if strategy == "epoch":
        today["save_strategy"] = strategy
        _warn('load_best_model_at_end: today that needs save_strategy="epoch", as eval_strategy.')
    elif strategy == "steps" and every >= 1 and today.get("save_steps", _FIELDS["save_steps"]) % every:
        today["save_steps"] = every
        _warn(f"load_best_model_at_end: today that needs a multiple of eval_steps as save_steps, which are {every}.")


def _asks_nothing(name: str, value: Any) -> bool:
    """Whether the value is the default, or as empty as that."""
    if name in DEFAULTS_OF_REMOVED:
        return value in DEFAULTS_OF_REMOVED[name]
    default = _FIELDS[name]
    made_by_transformers = not isinstance(value, str | dict | list | int | float | None)
    return value == default or (not default and not value) or (name == "accelerator_config" and made_by_transformers)


def _check_values(args: TrainingArguments) -> None:
    optim = str(getattr(args.optim, "value", args.optim))
    if optim not in OPTIMIZERS:
        raise ArgumentError(
            f"optim={optim!r} is not among {', '.join(OPTIMIZERS)}; pass another one as Trainer(optimizers=...)"
        )
    if args.save_strategy == SaveStrategy.BEST and args.metric_for_best_model is None:
        raise ArgumentError('save_strategy="best" needs metric_for_best_model, such as "loss"')
    at_least_1 = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
    for name in at_least_1:
        if getattr(args, name) < 1:
            raise ArgumentError(f"{name} is at least 1, not {getattr(args, name)}")
    if args.save_total_limit is not None and args.save_total_limit < 0:
        raise ArgumentError(f"save_total_limit is at least 0, or None for no limit, not {args.save_total_limit}")


def _warn(text: str) -> None:
    # The line of the person who made the arguments: above _today and __init__.
    warnings.warn(text, FutureWarning, stacklevel=4)
