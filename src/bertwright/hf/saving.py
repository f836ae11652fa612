"""Checkpoints as transformers lays them out, without a pickle among their files.

checkpoint-N/model.safetensors, config.json, tokenizer files    what `from_pretrained` loads
checkpoint-N/optimizer.safetensors, optimizer.json              the optimizer's tensors; its numbers and groups
checkpoint-N/scheduler.json, trainer_state.json, training_args.json
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerState
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import get_last_checkpoint, rotate_checkpoints

from ..errors import CheckpointError, RunError
from ..files import whole_folder, write_text
from ..train.optim import AnyOptimizer, load_state_tensors, state_tensors
from .face import Face

logger = logging.getLogger(__name__)
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
OPTIMIZER_NUMBERS, SCHEDULER = "optimizer.json", "scheduler.json"
STATE, ARGUMENTS = "trainer_state.json", "training_args.json"
FOR_RESUMING = [OPTIMIZER, OPTIMIZER_NUMBERS, SCHEDULER, STATE]
"""What a checkpoint holds besides a model."""
_MUST_AGREE = ("seed", "data_seed", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate")


def write_model(model: nn.Module, processing: Any, path: Path) -> None:
    """Writes what `from_pretrained` loads; of any other module the tensors alone."""
    path.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(path)  # type: ignore[operator]
    else:
        save_model(model, str(path / MODEL))
    if hasattr(processing, "save_pretrained"):
        processing.save_pretrained(path)


def write_checkpoint(trainer: Face, home: Path) -> Path:
    """Writes the checkpoint of the step at hand, whole or not at all, and removes those that are too many."""
    state, path = trainer.state, home / f"checkpoint-{trainer.state.global_step}"
    if state.best_global_step:
        best = home / f"checkpoint-{state.best_global_step}"
        if best == path or best.is_dir():
            state.best_model_checkpoint = str(best)
    with whole_folder(path) as folder:
        trainer.save_model(str(folder), _internal_call=True)
        if not trainer.args.save_only_model:
            _write_optimizer(trainer.optimizer, folder)
            _write_json(folder / SCHEDULER, trainer.lr_scheduler.state_dict())
        _keep_callbacks(trainer)
        state.save_to_json(str(folder / STATE))
    limit = trainer.args.save_total_limit
    rotate_checkpoints(str(home), limit, state.best_model_checkpoint, use_mtime=True)
    return path


def load_best(trainer: Face, home: Path) -> None:
    """Loads the best checkpoint, which is the only one that stays where one is to."""
    best = Path(trainer.state.best_model_checkpoint or "")
    load_weights(trainer.model, best)
    if trainer.args.save_total_limit == 1:
        for file in home.glob("checkpoint-*/" + STATE):
            if file.parent.resolve() != best.resolve():
                shutil.rmtree(file.parent)


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a checkpoint's tensors into a model of the same make.

    A model with a `load_state_dict` of its own says by itself what fits. Raises CheckpointError when the checkpoint is
    of another make, naming both sides.
    """
    stored, own = _read(path / MODEL), model.state_dict()
    if type(model).load_state_dict is not nn.Module.load_state_dict:
        model.load_state_dict(stored)
        return
    differ = [n for n in stored if n in own and stored[n].shape != own[n].shape]
    shapes = [f"{n} is {[*stored[n].shape]} there and {[*own[n].shape]} here" for n in differ]
    strange, present = sorted(stored.keys() - own.keys()), {own[n].data_ptr() for n in stored if n in own}
    lacking = sorted(n for n in own.keys() - stored.keys() if own[n].data_ptr() not in present)
    if shapes or strange or lacking:
        what = shapes[:1] or [f"it has {n}, which the model has not" for n in strange[:1]]
        what = what or [f"it lacks {n}" for n in lacking[:1]]
        raise CheckpointError(
            f"{path} is a checkpoint of {_kind(path)}, and the model is a {type(model).__name__}: {what[0]}"
        )
    model.load_state_dict(stored, strict=False)
    if isinstance(model, PreTrainedModel):
        model.tie_weights()


def resume(trainer: Face, path: Path) -> None:
    """Puts model, optimizer, schedule and state back to where a checkpoint left them."""
    for name in (STATE, OPTIMIZER, SCHEDULER):
        if not (path / name).is_file():
            raise CheckpointError(
                f"{path} has no {name}, so training cannot go on from it; load its weights with from_pretrained, or "
                "resume from a checkpoint that was written with save_only_model=False"
            )
    load_weights(trainer.model, path)
    _read_optimizer(trainer.optimizer, path)
    trainer.lr_scheduler.load_state_dict(_read_json(path / SCHEDULER))
    trainer.state = TrainerState.load_from_json(str(path / STATE))
    best = trainer.state.best_model_checkpoint
    if best is not None and not Path(best).is_dir():
        logger.warning(f"The best checkpoint, {best}, is no longer there.")
        trainer.state.best_model_checkpoint = None
    _say_what_changed(trainer, path)
    if trainer.args.restore_callback_states_from_checkpoint:
        _restore_callbacks(trainer)


def checkpoint_asked(resume_from: str | bool | None, home: Path) -> Path | None:
    """The checkpoint to go on from: the last one in `home` for True. Raises RunError when there is none."""
    if not resume_from:
        return None
    if resume_from is True:
        last = get_last_checkpoint(str(home)) if home.is_dir() else None
        if last is None:
            raise RunError(f"resume_from_checkpoint=True, and {home} holds no checkpoint-N; leave it out to begin")
        return Path(last)
    if not (Path(resume_from) / MODEL).is_file():
        raise RunError(f"resume_from_checkpoint={str(resume_from)!r} is not a folder with {MODEL}")
    return Path(resume_from)


def make_room(home: Path, overwrite: bool) -> None:
    """Raises RunError when a folder holds another run, unless it may be overwritten; then its checkpoints go.

    A run of the command line's never may.
    """
    if (home / "recipe.toml").is_file():
        raise RunError(f"{home} is a run of `bertwright pretrain` or `finetune`; choose another output_dir")
    found = sorted(home.glob("checkpoint-*/" + STATE))
    if found and not overwrite:
        raise RunError(
            f"{home} holds another run (with {found[-1].parent.name}); go on with it by "
            "train(resume_from_checkpoint=True), choose another output_dir, or pass overwrite_output_dir=True"
        )
    for file in found:
        shutil.rmtree(file.parent)


def _write_optimizer(optimizer: AnyOptimizer, folder: Path) -> None:
    parts = getattr(optimizer, "parts", [optimizer])
    numbers = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            states = [part.state[parameter] for part in parts if parameter in part.state]
            numbers |= {f"{name}/{k}": v for s in states for k, v in s.items() if not isinstance(v, Tensor)}
    groups = [{k: v for k, v in g.items() if k not in ("params", "param_names")} for g in optimizer.param_groups]
    save_file(state_tensors(optimizer), folder / OPTIMIZER)
    _write_json(folder / OPTIMIZER_NUMBERS, {"groups": groups, "state": numbers})


def _read_optimizer(optimizer: AnyOptimizer, path: Path) -> None:
    load_state_tensors(optimizer, _read(path / OPTIMIZER))
    kept = _read_json(path / OPTIMIZER_NUMBERS)
    for part in getattr(optimizer, "parts", [optimizer]):
        for group in part.param_groups:
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                own = {k.rpartition("/")[2]: v for k, v in kept["state"].items() if k.rpartition("/")[0] == name}
                if own:
                    part.state[parameter].update(own)
    for group, numbers in zip(optimizer.param_groups, kept["groups"], strict=True):
        group.update({k: tuple(v) if isinstance(v, list) else v for k, v in numbers.items()})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        raise RunError(f"{path.name} cannot be written without a pickle: {error}; pass save_only_model=True") from error
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    raise TypeError(f"it holds a {type(value).__name__}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from error


def _kind(path: Path) -> str:
    config = _read_json(path / "config.json") if (path / "config.json").is_file() else {}
    return f"a {(config.get('architectures') or ['model of another make'])[0]}"


def _keep_callbacks(trainer: Face) -> None:
    """Puts each callback's state of now into the Trainer's, by its class; of several of a class a list."""
    held: Any = trainer.state.stateful_callbacks
    states: dict[str, list[Any]] = {}
    for callback in [*trainer.callback_handler.callbacks, trainer.control]:
        if isinstance(callback, ExportableState):
            states.setdefault(type(callback).__name__, []).append(callback.state())
    held.update({name: several if len(several) > 1 else several[0] for name, several in states.items()})


def _restore_callbacks(trainer: Face) -> None:
    """Gives each callback its state again, the n-th of a class the n-th; says which states nobody takes."""
    held: Any = trainer.state.stateful_callbacks
    waiting = {name: list(kept) if isinstance(kept, list) else [kept] for name, kept in held.items()}
    # The control of a run that had ended would end this one at its first step.
    waiting.pop(type(trainer.control).__name__, None)
    for callback in trainer.callback_handler.callbacks:
        states = waiting.get(type(callback).__name__) if isinstance(callback, ExportableState) else None
        if states:
            one = states.pop(0)
            for name, value in {**one.get("args", {}), **one.get("attributes", {})}.items():
                setattr(callback, name, value)
    if left := [name for name, states in waiting.items() if states]:
        logger.warning(f"The checkpoint has the state of {', '.join(left)}, and callbacks= has none to take it.")


def _say_what_changed(trainer: Face, path: Path) -> None:
    there = _read_json(path / ARGUMENTS) if (path / ARGUMENTS).is_file() else {}
    here = trainer.args.to_dict()
    changed = [f"{k} is {here[k]} here and {there[k]} there" for k in _MUST_AGREE if there and there[k] != here[k]]
    if changed:
        logger.warning(f"Not the run that {path} is of, so it will end elsewhere: {'; '.join(changed)}.")
