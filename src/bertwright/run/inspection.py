"""What a path is and where it comes from: a token store, a run, or any Hugging Face checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ..amounts import amount
from ..data.describe import describe
from ..data.store import TokenStore
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from .drawing import draw
from .provenance import Provenance, millions
from .spec import Recipe


class Inspected(NamedTuple):
    """The same twice: for a person, and as JSON."""

    text: str
    facts: dict[str, Any]

    def with_more(self, text: str, **facts: Any) -> Inspected:
        """With more lines, and more facts."""
        return Inspected(f"{self.text}\n{text}", self.facts | facts)


def inspected(path: str) -> Inspected:
    """Looks at a path. Raises StoreError or CheckpointError when it is neither a store nor a checkpoint nor a run."""
    if (Path(path) / "manifest.json").is_file():
        return _store(Path(path))
    folder = checkpoint_folder(path)
    source = Checkpoint.open(folder)
    record = Provenance.read(folder)
    if record is None:
        return _foreign(source)
    found = _ours(folder, source, record)
    home = _unfinished(path)
    return found if home is None else found.with_more(_how_far(home, record.step), finished=False)


def _unfinished(path: str) -> Path | None:
    """The folder of a run that has no model yet."""
    home = Path(path)
    return home if (home / "recipe.toml").is_file() and not (home / "model" / "config.json").is_file() else None


def _how_far(home: Path, step: int) -> str:
    steps = Recipe.read(home / "recipe.toml").train.steps or 1
    return f"not finished, {step:,} of {amount(steps, 'step')} done; the command it was begun with goes on."


def _store(path: Path) -> Inspected:
    store = TokenStore(path)
    return Inspected("\n".join(describe(store)), {"kind": "store", **store.manifest})


def _foreign(source: Checkpoint) -> Inspected:
    sizes = {name: prod(source.shape(name)) for name in source.files}
    kind = ", ".join(source.config.architectures or ["encoder without a head"])
    text = (
        f"{source.path}: a {kind}, {len(sizes)} tensors, {millions(sum(sizes.values()))} weights.\n"
        "It has no record of where its weights come from."
    )
    facts = {"kind": "checkpoint", "architecture": kind, "tensors": len(sizes), "weights": sum(sizes.values())}
    return Inspected(text, facts)


def _ours(folder: Path, source: Checkpoint, record: Provenance) -> Inspected:
    kind = ", ".join(source.config.architectures or [])
    chain = [f"{run['run']} ({run['kind']}: {run['task']})" for run in record.lineage]
    lines = [
        f"{folder}: {kind}, step {record.step} of run {record.run}, task {record.task}",
        record.sentence(),
        draw(record.tensors),
        f"Lineage: {' -> '.join([*chain, record.run])}",
    ]
    lines += [f"held out  {name}: {value:.4f}" for name, value in record.heldout.items()]
    facts = {"kind": record.kind, "run": record.run, "says": record.sentence(), "architecture": kind, **asdict(record)}
    return Inspected("\n".join(lines), facts)
