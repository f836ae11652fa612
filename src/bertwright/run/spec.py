"""The recipe: everything that decides what a run does, with the defaults filled in and unknown keys refused.

A recipe is a TOML file. `task` names what is learned (`"mlm+nsp"`, `"classify"`, `"mine.py:Mine"`), a table
`[tasks.NAME]` holds the settings of a task, and the other tables are the classes below. A setting that is left out gets
the default that fits what the task reads: text or labelled rows.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from ..errors import RecipeError

DRAWN, COUNTED = "drawn", "counted"
SCRATCH = "scratch"
"""In place of a checkpoint: weights drawn at random."""
SHORTEST = 8
"""Tokens of the shortest length that sequences may be cut to."""
MICRO_TOKENS = 8192
"""Tokens a forward pass where memory does not bound them: fewer take a CPU longer a token, more no less."""


_THEIRS = {
    "learning_rate": "train.lr",
    "max_steps": "train.steps",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "max_length": "data.length",
    "max_seq_length": "data.length",
    "max_grad_norm": "train.clip",
}
"""Settings by the names that transformers has for them."""
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "a list of texts"}


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is read."""

    store: str = ""
    """A token store: what tasks on text read."""
    train: tuple[str, ...] = ()
    """Labelled files: what the other tasks read."""
    dev: tuple[str, ...] = ()
    """Labelled files to judge by; without them a tenth of the training rows is kept for that."""
    length: int = 128
    """The longest sequence, special tokens included."""
    start_length: int | None = None
    """The longest sequence at first, on text; it doubles until it is `length`, with as many tokens a step."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Where the encoder comes from, and how much of it trains."""

    start: str = SCRATCH
    """`scratch`, or a checkpoint: a run, a folder or a Hub name."""
    like: str = ""
    """A checkpoint that gives an encoder from scratch its shape and its tokenizer, and none of its weights."""
    arch: str = ""
    """By default the one that the task is for, or bert."""
    size: str = "mini"
    """Of an encoder from scratch: `tiny`, `mini`, `small`, `medium`, `base` or `large`."""
    init: str = "paper"
    """The law by which weights are drawn: `paper`, `local`, `normal` or `zeros`."""
    words: str = DRAWN
    """Of an encoder from scratch: `drawn` as all else, or `counted`, from how often tokens of the store occur, and
    beside which."""
    freeze: str = ""
    """`encoder`, `embeddings`, or a number: the embeddings and that many layers."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long and how fast it learns."""

    steps: int | None = None
    """Optimizer steps."""
    epochs: float | None = None
    """How many times the data, instead of steps."""
    budget: str | None = None
    """Time to spend in training steps, as in `90s`, `10m`, `2h`; turned into steps by a short calibration."""
    batch_size: int | None = None
    """Examples an optimizer step."""
    start_batch_size: int | None = None
    """Examples a step at first; they double until they are `batch_size`."""
    growth: float = 0.5
    """The share of the horizon after which lengths and batch sizes have grown."""
    micro_tokens: int | None = None
    """Tokens a forward pass: 8192, or half of that as often as it takes to fit into memory. No result depends on it but
    for rounding, and for what dropout drops."""
    threads: int | None = None
    """On a CPU: by default what OMP_NUM_THREADS says, else as many as multiply fastest. No result depends on it but for
    rounding."""
    optimizer: str = "adamw"
    """`adamw`, or `muon`: for the matrices of the encoder's layers, with AdamW for the rest."""
    lr: float | None = None
    """AdamW's peak rate. By default on text 1e-3 up to a width of 256 and less beyond, twice that beside Muon; on rows
    5e-5 for a width of 768, more with the cube for narrower encoders, and at most 1e-3."""
    matrix_lr: float = 0.02
    """Muon's peak rate."""
    schedule: str = "linear"
    """How the rate goes on after its rise: `linear`, `cosine`, `trapezoid` or `constant`."""
    warmup: float = 0.1
    """The share of the horizon over which the rate rises."""
    decay: float = 0.2
    """The share of the steps over which the rate falls at the end of a trapezoid."""
    horizon: int | None = None
    """The number of steps that shares of a run are taken of, but for `decay`: by default all of them, and those first
    asked for where a run goes on to another number."""
    average: float = 0.0
    """How much of itself the running average of the weights keeps a step, as in 0.999; 0: there is none."""
    layer_decay: float = 1.0
    """What the rate is multiplied by for each layer down from the head; 1: the same rate everywhere."""
    unfreeze: float = 0.0
    """The share of the horizon over which the encoder begins to train, layer by layer from the last; 0: at once."""
    patience: int | None = None
    """How many judgements in a row may be no better than the best before the run ends; by default it does not."""
    weight_decay: float = 0.01
    """Of all but biases and norms."""
    clip: float = 1.0
    """The largest norm of a step's gradient; a larger one is scaled down to it."""
    dropout: float | None = None
    """The share of values dropped in training."""
    precision: str = "auto"
    """`bf16` or `fp32` for products; `auto`, and `bf16` too, is bf16 where the hardware has it and fp32 elsewhere."""
    compile: str = "auto"
    """`on` or `off`: whether the encoder's layers are compiled; `auto`: on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """When and on how much it is judged."""

    every: int | None = None
    """Steps; by default twenty times a run on text, but never more often than every hundred steps, and at the end; on
    rows once an epoch."""
    examples: int | None = None
    """Held-out examples, the same ones each time; 0: all."""


@dataclass(frozen=True, kw_only=True)
class Save:
    """Which checkpoints are kept, and which becomes the model."""

    every: int | None = None
    """Steps; by default as often as it is judged."""
    keep: int = 2
    """How many checkpoints, besides the best."""
    model: str | None = None
    """The `last` checkpoint, or the `best` by the held-out score."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run, before it starts. See the module's text for the file's form."""

    out: str
    """The run's folder."""
    task: str
    """What is learned: `mlm`, `mlm+nsp`, `classify`, `mine.py:Mine`."""
    seed: int = 1
    """What every draw is a function of."""
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    encoder: Encoder = field(default_factory=Encoder)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    save: Save = field(default_factory=Save)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe from nested tables. Raises RecipeError for unknown keys, missing ones and values of a wrong kind."""
        return build(cls, values, "")

    @classmethod
    def read(cls, path: Path, sets: tuple[str, ...] = ()) -> Recipe:
        """A recipe from a file, with `a.b=c` settings over it."""
        return cls.of(overridden(load(path), sets))

    def tables(self) -> dict[str, Any]:
        """Nested tables with everything that is set, as they go into a file."""
        return _plain(dataclasses.asdict(self))

    def write(self) -> str:
        """The recipe as TOML."""
        return tomli_w.dumps(self.tables())


def load(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises RecipeError when it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path} is not a recipe in TOML: {error}") from error


def overridden(tables: Mapping[str, Any], sets: tuple[str, ...]) -> dict[str, Any]:
    """The tables with each `a.b=c` laid over them; c is read as TOML where it can be, else as text."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
    for one in sets:
        path, equals, text = one.partition("=")
        if not equals:
            raise RecipeError(f"--set takes key=value, as in train.lr=1e-3, not {one!r}")
        *parents, last = path.strip().split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise RecipeError(f"--set {one}: {parent!r} is a single setting, not a table")
        table[last] = _value(text)
    return result


def seconds(budget: str) -> float:
    """`90s`, `10m`, `2h` in seconds. Raises RecipeError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", budget.strip())
    if match is None:
        raise RecipeError(f"a budget is a number with s, m or h, as in 90s, 10m or 2h, not {budget!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def differences(mine: Recipe, theirs: Recipe) -> dict[str, str]:
    """The settings that differ, as `train.lr`: `train.lr: 0.001 here, 0.002 there`; what is empty is unset."""
    here, there = _flat(mine.tables()), _flat(theirs.tables())
    keys = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    return {key: f"{key}: {_shown(here.get(key))} here, {_shown(there.get(key))} there" for key in keys}


def _shown(value: Any) -> str:
    return "unset" if value in (None, "", [], {}) else str(value)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table. Raises RecipeError for unknown keys, missing ones and values of a wrong kind."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where.rstrip('.')} is a table of settings, not {values!r}")
    types_of = typing.get_type_hints(cls)
    hints = {f.name: types_of[f.name] for f in dataclasses.fields(cls)}
    for key in values:
        if key not in hints:
            raise RecipeError(f"unknown setting {where}{key}; {_meant(key, list(hints), where)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"the recipe lacks {' and '.join(where + name for name in missing)}")
    return cls(**{key: _checked(hints[key], value, where + key) for key, value in values.items()})


def _meant(key: str, known: list[str], where: str) -> str:
    """What would be accepted in place of an unknown key: beside it, or of the same name elsewhere in the recipe."""
    if near := difflib.get_close_matches(key, known, 1):
        return f"did you mean {where}{near[0]}?"
    elsewhere = _THEIRS | _leaves()
    if not where.startswith("tasks.") and (near := difflib.get_close_matches(key, elsewhere, 1)):
        return f"did you mean {elsewhere[near[0]]}?"
    return f"known are {', '.join(known)}" if known else f"{where.rstrip('.')} has none"


def _leaves() -> dict[str, str]:
    """The settings in the tables of a recipe, by their last names."""
    tables = {"data": Data, "encoder": Encoder, "train": Train, "evaluate": Evaluate, "save": Save}
    return {f.name: f"{name}.{f.name}" for name, table in tables.items() for f in dataclasses.fields(table)}


def _checked(hint: Any, value: Any, where: str) -> Any:
    """The value as the type that a setting has, or a RecipeError that says both."""
    if isinstance(value, Mapping) and hasattr(hint, "__dataclass_fields__"):
        return build(hint, value, f"{where}.")
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if tuple in kinds and isinstance(value, str | list | tuple):
        return (value,) if isinstance(value, str) else tuple(str(one) for one in value)
    if str in kinds and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
        return value
    wanted = " or ".join(_KINDS.get(kind, "a table of settings") for kind in kinds if kind is not type(None))
    raise RecipeError(f"{where} is {wanted}, not {value!r}")
