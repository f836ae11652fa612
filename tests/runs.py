"""Small real runs that tests of running and of the command line share: text, rows, recipes, a store, two models."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet
from safetensors.torch import load_file
from torch import Tensor

from bertwright.cli.recipes import nested
from bertwright.data.prepare import PrepareSettings, prepare
from bertwright.run.run import Stop, run
from bertwright.run.spec import Recipe

SEA = (
    "the captain|the crew|a sailor|the pilot|an old boat|the lighthouse".split("|"),
    "saw|left|followed|remembered|kept|passed".split("|"),
    "the harbour|the storm|the grey shore|a torn sail|the tide|the western wind".split("|"),
    "at dawn|before noon|in the dark|for three days|without a word|again".split("|"),
)
GARDEN = (
    "садовник|сосед|старый мастер|мой брат|наш учитель|хозяин дома".split("|"),
    "посадил|увидел|полил|собрал|нашёл|продал".split("|"),
    "зелёный горох|белую розу|молодую яблоню|сухую траву|спелый крыжовник|чёрную землю".split("|"),
    "весной|в июле|после дождя|у старой стены|рано утром|ещё раз".split("|"),
)
DOCUMENTS = 48


class Killed(BaseException):
    """Stands for a process that ends at once."""


class Watcher:
    """Remembers what a run says; `at` is called with every step that is shown."""

    def __init__(self, at: Callable[[int], None] = lambda step: None) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self._at = at

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None:
        self.steps.append(done)
        self._at(done)

    def bytes(self, stage: str, done: int, total: int) -> None:
        pass


def killed_at(step: int) -> Watcher:
    """A watcher under which the process ends when a step is shown, before anything is saved of it."""

    def at(done: int) -> None:
        if done == step:
            raise Killed

    return Watcher(at)


def stopping_at(step: int) -> tuple[Watcher, Stop]:
    """A watcher that asks the run to stop when a step is shown."""
    stop = Stop()

    def at(done: int) -> None:
        stop.asked = stop.asked or done >= step

    return Watcher(at), stop


def sentence(topic: tuple[list[str], ...], draw: random.Random) -> str:
    words = " ".join(draw.choice(part) for part in topic)
    return f"{words[0].upper()}{words[1:]}."


def documents(number: int = DOCUMENTS, seed: int = 1) -> list[str]:
    """English about the sea and Russian about a garden in turn, a sentence a line."""
    draw = random.Random(seed)
    return ["\n".join(sentence((SEA, GARDEN)[at % 2], draw) for _ in range(draw.randint(5, 9))) for at in range(number)]


def rows(number: int = 64, seed: int = 2, labels: tuple[str, str] = ("sea", "сад")) -> list[dict[str, Any]]:
    """Sentences labelled by what they are about."""
    draw = random.Random(seed)
    return [{"text": sentence((SEA, GARDEN)[at % 2], draw), "label": labels[at % 2]} for at in range(number)]


def write_rows(path: Path, made: Iterable[Mapping[str, Any]]) -> Path:
    """As the kind of file that the name says: .jsonl, .csv, .tsv or .parquet."""
    made = list(made)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(made), path)
        return path
    with open(path, "w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        else:
            writer = csv.DictWriter(file, list(made[0]), delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(made)
    return path


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return path


def make_store(folder: Path, texts: Iterable[str], name: str = "store", **settings: Any) -> Path:
    """A token store of the texts in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(folder / f"{name}.txt", texts)
    given = PrepareSettings(**{"vocab_size": 512, "heldout": 0.1, "layout": "lines", **settings})
    prepare([folder / f"{name}.txt"], folder / name, settings=given)
    return folder / name


def pretraining(store: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The tables of a recipe of a few steps; `changes` as in `train__steps=3`."""
    given = {
        "out": str(out),
        "task": "mlm+nsp",
        "data.store": str(store),
        "data.length": 32,
        "encoder.size": "tiny",
        "train.steps": 6,
        "train.batch_size": 8,
        "train.precision": "fp32",
        "evaluate.examples": 16,
        "evaluate.every": 3,
        "save.every": 2,
    }
    return _changed(given, changes)


def finetuning(start: Path | str, train: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The tables of a recipe of a few steps on labelled rows; `changes` as in `train__steps=3`."""
    given = {
        "out": str(out),
        "task": "classify",
        "data.train": str(train),
        "data.length": 32,
        "encoder.start": str(start),
        "train.steps": 4,
        "train.batch_size": 8,
        "train.precision": "fp32",
        "evaluate.every": 2,
    }
    return _changed(given, changes)


def _changed(given: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return nested(given | {name.replace("__", "."): value for name, value in changes.items()})


def done(tables: Mapping[str, Any], show: Watcher | None = None, stop: Stop | None = None) -> Path:
    """The run of a recipe, to its end."""
    return run(Recipe.of(tables), show or Watcher(), stop)


@cache
def store(base: Path) -> Path:
    return make_store(base / "shared", documents())


@cache
def pretrained(base: Path) -> Path:
    return done(pretraining(store(base), base / "shared" / "pretrained"))


@cache
def labelled(base: Path) -> Path:
    store(base)
    return write_rows(base / "shared" / "train.jsonl", rows())


@cache
def classifier(base: Path) -> Path:
    """A model that has learned to tell the two classes apart."""
    long_enough = {"train__steps": 24, "train__lr": 2e-3, "evaluate__every": 8}
    return done(finetuning(pretrained(base), labelled(base), base / "shared" / "classifier", **long_enough))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(mine: Path, theirs: Path) -> bool:
    """Whether two runs came to the same model, bit for bit."""
    models = [(home / "model" / "model.safetensors").read_bytes() for home in (mine, theirs)]
    return models[0] == models[1]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metrics(home: Path) -> list[dict[str, Any]]:
    """What was logged, without what depends on the clock."""
    lines = [json.loads(line) for line in (home / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    clocked = ("tokens_per_second", "waiting")
    return [{key: value for key, value in line.items() if key not in clocked} for line in lines]
