"""Checkpoints as transformers keeps them: `config.json` and safetensors files, read into modules and written from them.

Nothing is unpickled and no code of a checkpoint runs: a folder that holds only a pickle is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..errors import CheckpointError, RunError
from ..files import sync
from .naming import Architecture, reading, stored_unit

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the tensors that were asked for, under transformers' names."""

    loaded: list[str]
    missing: list[str]
    """Asked for and not in the checkpoint."""
    unused: list[str]
    """In the checkpoint and not asked for; tied copies and buffers left out."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of transformers' make, opened: its config, and which file holds each tensor."""

    path: Path
    config: PretrainedConfig
    files: Mapping[str, Path]
    """By the tensor's name as stored."""

    @classmethod
    def open(cls, path: str | Path) -> Checkpoint:
        """Reads the config and the list of tensors, no tensor yet.

        Raises CheckpointError when the folder, its config or its weights are missing, damaged or of an unknown make.
        """
        path = Path(path)
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such folder; a checkpoint is a folder with {CONFIG} and {WEIGHTS}")
        return cls(path, _read_config(path), _list_tensors(path))

    def load_into(
        self,
        module: nn.Module,
        names: Mapping[str, str],
        optional: Collection[str] | Callable[[str], bool] | None = None,
        kind: type[Architecture] | None = None,
    ) -> Loaded:
        """Copies tensors into those of `module`, which `names` maps to transformers' names (see `hf_names`).

        The checkpoint may carry the base model's prefix or not, names of old, and tied copies: what `kind` says of
        them, by default the architecture here that reads the config's model type. A name as `generator/...` is of the
        checkpoint in the folder `generator` of this one. `optional` says which of transformers' names may be missing:
        these, those for which it is true, or (None) all of them. Raises
        CheckpointError, naming both sides, when a shape differs or a tensor is missing that may not be; then nothing
        has been copied.
        """
        kind = kind or reading(self.config.model_type)
        if kind is None:
            raise CheckpointError(f"{self.path}: no architecture here reads model_type {self.config.model_type!r}")
        by_folder: dict[str, dict[str, str]] = {"": {}}
        for own, name in names.items():
            folder = name[: name.find("/") + 1]
            by_folder.setdefault(folder, {})[own] = name.removeprefix(folder)
        parts = {folder: self._inner(folder) for folder in by_folder}
        matches = {
            folder: part._matched(module, by_folder[folder], folder, _predicate(optional), kind)
            for folder, part in parts.items()
        }
        for folder, (pairs, _) in matches.items():
            for own, (_, key) in pairs.items():
                if key is not None:
                    with torch.no_grad():
                        _held(module, own).copy_(_in_units(parts[folder].tensor(key), stored_unit(module, own)))
        found = [(folder + name, key) for folder, (pairs, _) in matches.items() for name, key in pairs.values()]
        return Loaded([name for name, key in found if key], [name for name, key in found if not key], matches[""][1])

    def _inner(self, folder: str) -> Checkpoint:
        """The checkpoint in a folder of this one, without a tensor where there is none."""
        path = self.path / folder
        if not folder:
            return self
        return Checkpoint.open(path) if path.is_dir() else Checkpoint(path, self.config, {})

    def _matched(
        self,
        module: nn.Module,
        names: Mapping[str, str],
        prefix: str,
        may_miss: Callable[[str], bool],
        kind: type[Architecture],
    ) -> tuple[dict[str, tuple[str, str | None]], list[str]]:
        """By our own name, that of transformers and that as stored; and what is stored besides."""
        stored = _Stored(self.files, kind)
        pairs = {own: (name, stored.find(name)) for own, name in names.items()}
        unused = stored.left({key for _, key in pairs.values() if key})
        if needed := [name for name, key in pairs.values() if key is None and not may_miss(prefix + name)]:
            raise CheckpointError(f"{self.path}: {_two_sides(needed, unused)}")
        self._check_shapes(module, pairs)
        if any(stored.is_decoders(name) for name, _ in pairs.values()):
            self._check_tied(stored, kind)
        return pairs, unused

    @property
    def dtype(self) -> torch.dtype:
        """The number format of its first tensor of real numbers."""
        kinds = (self.tensor(key).dtype for key in self.files)
        return next((kind for kind in kinds if kind.is_floating_point), torch.float32)

    def tensor(self, key: str) -> Tensor:
        """One tensor, by its name as stored."""
        with _opened(self.files[key]) as file:
            return file.get_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of one tensor, by its name as stored, without reading it."""
        with _opened(self.files[key]) as file:
            return tuple(file.get_slice(key).get_shape())

    def _check_shapes(self, module: nn.Module, pairs: Mapping[str, tuple[str, str | None]]) -> None:
        differ = []
        for own, (name, key) in pairs.items():
            ours = tuple(_held(module, own).shape)
            if key is not None and (theirs := self.shape(key)) != ours:
                differ.append(f"{name} {list(ours)} in the model, {list(theirs)} in the checkpoint")
        if differ:
            raise CheckpointError(f"{self.path}: shapes differ: {_some(differ, '; ')}")

    def _check_tied(self, stored: _Stored, kind: type[Architecture]) -> None:
        """A vocabulary head of its own weights cannot be kept: ours multiplies by the word embeddings."""
        weights = stored.find(f"{kind.decoder_name}.weight"), stored.find(kind.words_name)
        for copy, original in (weights, *kind.copies.items()):
            if copy and original and self._differ(copy, original):
                raise CheckpointError(
                    f"{self.path}: {copy} differs from {original}; only heads tied to the embeddings load"
                )

    def _differ(self, copy: str, original: str) -> bool:
        """Whether both are stored, with other numbers."""
        return {copy, original} <= self.files.keys() and not torch.equal(self.tensor(copy), self.tensor(original))


class _Stored:
    """A checkpoint's names, found by transformers' present ones."""

    def __init__(self, keys: Iterable[str], kind: type[Architecture]) -> None:
        self._kind = kind
        self._prefix = prefix = f"{kind.base_prefix}."
        self._by_plain: dict[str, str] = {}
        for key in keys:
            # A tensor and its tied copy fall together: the one that needs no renaming wins.
            plain = self._plain(key)
            if plain not in self._by_plain or key.removeprefix(prefix) == plain:
                self._by_plain[plain] = key
        self._keys = list(keys)

    def _plain(self, key: str) -> str:
        key = key.removeprefix(self._prefix)
        for old, new in self._kind.old_endings.items():
            if key.endswith(old):
                key = key.removesuffix(old) + new
        return self._kind.copies.get(key, key)

    def find(self, name: str) -> str | None:
        """The stored name of what transformers calls `name`; None where there is none."""
        return self._by_plain.get(self._plain(name))

    def is_decoders(self, name: str) -> bool:
        """Whether what transformers calls `name` belongs to the layer over the vocabulary: its bias."""
        return self._plain(name) == self._plain(f"{self._kind.decoder_name}.bias")

    def left(self, used: set[str]) -> list[str]:
        """The stored names that are neither `used` nor copies of those, nor buffers."""
        plain = {self._plain(key) for key in used} | {f"{self._kind.decoder_name}.weight", *self._kind.kept_buffers}
        return [key for key in self._keys if self._plain(key) not in plain]


def save(path: str | Path, config: PretrainedConfig, tensors: Mapping[str, Tensor], architecture: str) -> None:
    """Writes `config.json` and `model.safetensors` for transformers' class `architecture`, making the folder.

    `tensors` go by transformers' full names and are written in fp32, whole numbers as they are. Each file appears whole
    or not at all. Raises RunError when they cannot be written (no space, no right); then neither has changed.
    """
    path = Path(path)
    config = deepcopy(config)
    config.architectures = [architecture]
    config.dtype = "float32"
    whole = {name: _written(x) for name, x in tensors.items()}
    new = {path / name: path / f".{name}.{os.getpid()}.new" for name in (WEIGHTS, CONFIG)}
    try:
        path.mkdir(parents=True, exist_ok=True)
        save_file(whole, new[path / WEIGHTS], metadata={"format": "pt"})
        new[path / CONFIG].write_text(config.to_json_string(), encoding="utf-8")
        shutil.copymode(new[path / CONFIG], new[path / WEIGHTS])  # safetensors lets nobody else read its files
        for temporary in new.values():
            sync(temporary)
        for final, temporary in new.items():
            os.replace(temporary, final)
        sync(path)
    except (OSError, SafetensorError) as error:
        for temporary in new.values():
            with suppress(OSError):
                temporary.unlink()
        size = sum(x.nbytes for x in whole.values()) / 1e6
        raise RunError(f"{path}: cannot write a checkpoint of {size:.0f} MB: {one_line(error)}") from error


def _held(module: nn.Module, name: str) -> Tensor:
    """A parameter or a buffer."""
    owner, _, own = name.rpartition(".")
    return getattr(module.get_submodule(owner), own)


def _in_units(stored: Tensor, unit: float) -> Tensor:
    return stored if unit == 1 else stored / unit


def _written(x: Tensor) -> Tensor:
    kind = torch.float32 if x.is_floating_point() else x.dtype
    return x.detach().to("cpu", kind, copy=True).contiguous()


def _read_config(path: Path) -> PretrainedConfig:
    if not (path / CONFIG).is_file():
        raise CheckpointError(f"{path}: no {CONFIG} in it; a checkpoint is a folder with {CONFIG} and {WEIGHTS}")
    fields = _read_json(path / CONFIG)
    kind = fields.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        found = f"model_type {kind!r}" if kind else "no model_type"
        raise CheckpointError(f"{path / CONFIG}: {found}; accepted is one that transformers knows, such as 'bert'")
    # Code that a checkpoint brings along is not run, nor handed on in what is saved from it.
    fields.pop("auto_map", None)
    try:
        return CONFIG_MAPPING[kind].from_dict(fields)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG}: {one_line(error)}") from error


def _list_tensors(path: Path) -> dict[str, Path]:
    if (path / INDEX).is_file() and not (path / WEIGHTS).is_file():
        return _list_shards(path)
    if (path / WEIGHTS).is_file():
        with _opened(path / WEIGHTS) as file:
            return dict.fromkeys(file.keys(), path / WEIGHTS)
    if any(path.glob("pytorch_model*.bin")):
        raise CheckpointError(
            f"{path}: its weights are a pickle ({PICKLE}), which could run code and is never read; where you trust it, "
            f"convert it: AutoModelForPreTraining.from_pretrained({str(path)!r}).save_pretrained(a new folder)"
        )
    raise CheckpointError(f"{path}: no weights in it; accepted are {WEIGHTS}, or {INDEX} with its shards")


def _list_shards(path: Path) -> dict[str, Path]:
    places = _read_json(path / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(Path(str(name)).name == name for name in places.values()):
        raise CheckpointError(f"{path / INDEX}: damaged: its weight_map must name files of the same folder")
    files: dict[str, Path] = {}
    for shard in sorted(set(places.values())):
        if not (path / shard).is_file():
            raise CheckpointError(f"{path}: {INDEX} names {shard}, and there is no such file")
        with _opened(path / shard) as file:
            files.update(dict.fromkeys(file.keys(), path / shard))
    if lost := [name for name in places if name not in files]:
        raise CheckpointError(f"{path}: {INDEX} names tensors that no shard holds: {_some(lost)}")
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {one_line(error)}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found a {type(fields).__name__}")
    return fields


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged or not a safetensors file: {one_line(error)}") from error


def _predicate(optional: Collection[str] | Callable[[str], bool] | None) -> Callable[[str], bool]:
    if optional is None:
        return lambda name: True
    return optional if callable(optional) else optional.__contains__


def _two_sides(missing: list[str], unused: list[str]) -> str:
    lines = [f"+ {name}" for name in missing[:_SHOWN]] + [f"- {name}" for name in unused[:_SHOWN]]
    more = max(0, len(missing) - _SHOWN) + max(0, len(unused) - _SHOWN)
    shown = ", ".join(lines) + (f" and {more} more" if more else "")
    return f"does not fit (+ asked for and not in the checkpoint, - in it and not asked for): {shown}"


def _some(items: list[str], between: str = ", ") -> str:
    more = len(items) - _SHOWN
    return between.join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def one_line(error: BaseException) -> str:
    """What an error of another library says, without its line breaks; of a config's field, without the preamble."""
    plain = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
    return " ".join(str(plain).split())
