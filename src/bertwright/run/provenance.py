"""Where a model comes from: which tensors were drawn, loaded or frozen, and so which kind of training it was.

Whether a run is pretraining or fine-tuning is nowhere asked by the code that trains; it is derived here, for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from platform import platform, python_version
from typing import Any

from ..errors import CheckpointError
from ..files import write_text

FILE = "bertwright.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a model at the start of its run."""

    name: str
    """transformers' name"""
    part: str
    """`embeddings`, `layer 3` or `head mlm`"""
    size: int
    loaded: bool
    """Taken from the start's checkpoint; otherwise drawn at random."""
    frozen: bool
    counted: bool = False
    """Written over by what was counted in the text (see `encoders.counted`)."""

    @property
    def is_head(self) -> bool:
        return self.part.startswith("head ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What is written beside every checkpoint. `reads` is `text` or `rows`: what the task learned from."""

    task: str
    reads: str
    settings: Mapping[str, Any]
    seed: int
    start: str
    tensors: Sequence[Tensor]
    data: Mapping[str, Any]
    lineage: Sequence[Mapping[str, str]] = ()
    """The runs it descends from, oldest first."""
    versions: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    heldout: Mapping[str, float] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The run's id: twelve hex digits over what it was made from."""
        made_from = asdict(self, dict_factory=_without_uncounted) | {"step": 0, "heldout": {}, "versions": {}}
        return sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def kind(self) -> str:
        """What people call such training."""
        encoder = [tensor for tensor in self.tensors if not tensor.is_head]
        loaded = any(tensor.loaded for tensor in encoder)
        if self.reads == "text":
            return "continued pretraining" if loaded else "pretraining from scratch"
        if all(tensor.frozen for tensor in encoder):
            return "a head on a frozen encoder" if loaded else "a head on a frozen random encoder"
        return "fine-tuning" if loaded else "training a task from random weights, without pretraining"

    def sentence(self) -> str:
        """The line that says where the weights come from and what that makes of the run."""
        return f"{self._encoder_words()} {self._head_words()}{self._frozen_words()} This is {self.kind}."

    def _encoder_words(self) -> str:
        encoder = [tensor for tensor in self.tensors if not tensor.is_head]
        loaded = sum(tensor.loaded for tensor in encoder)
        if not loaded:
            words = ", words as counted in the text" if any(tensor.counted for tensor in encoder) else ""
            return (
                f"Encoder: {millions(sum(t.size for t in encoder))} weights drawn at random (seed {self.seed}){words}."
            )
        parent = f" (parent run {self.lineage[-1]['run']})" if self.lineage else ""
        return f"Encoder: {loaded} of {len(encoder)} tensors loaded from {self.start}{parent}."

    def _head_words(self) -> str:
        heads: dict[str, list[Tensor]] = {}
        for tensor in self.tensors:
            if tensor.is_head:
                heads.setdefault(tensor.part.removeprefix("head "), []).append(tensor)
        if not heads:
            return "No head with weights of its own."
        said = ", ".join(f"{name} ({origin(tensors)})" for name, tensors in heads.items())
        return f"{'Heads' if len(heads) > 1 else 'Head'}: {said}{self._classes()}."

    def _classes(self) -> str:
        classes = self.settings.get("classes")
        return f", {len(classes)} classes" if classes else ""

    def _frozen_words(self) -> str:
        parts = list(dict.fromkeys(t.part for t in self.tensors if t.frozen))
        if not parts:
            return ""
        encoder = {t.part for t in self.tensors if not t.is_head}
        if set(parts) == encoder:
            return " The whole encoder is frozen."
        layers = len(parts) - 1
        first = "first layer" if layers == 1 else f"first {layers} layers"
        return f" Embeddings and the {first} frozen." if layers else " Embeddings frozen."

    def write(self, folder: Path) -> None:
        """Writes it beside the weights in `folder`."""
        fields = {"run": self.run, "kind": self.kind, "says": self.sentence()} | asdict(self)
        write_text(folder / FILE, json.dumps(fields, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Provenance | None:
        """What lies beside the weights in `folder`; None where nothing does.

        Raises CheckpointError when it is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            for derived in ("run", "kind", "says"):
                fields.pop(derived)
            return cls(**fields | {"tensors": [Tensor(**tensor) for tensor in fields["tensors"]]})
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged or of another version: {error}") from error


def _without_uncounted(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Runs from before words could be counted keep their ids, and so can go on."""
    return {name: value for name, value in fields if name != "counted" or value}


def descent(folder: Path | None) -> tuple[Mapping[str, str], ...]:
    """The lineage of a run that starts from the checkpoint in `folder`."""
    parent = Provenance.read(folder) if folder else None
    if parent is None:
        return ()
    return (*parent.lineage, {"run": parent.run, "kind": parent.kind, "task": parent.task})


def versions() -> dict[str, str]:
    """The versions that decide what comes out."""
    packages = {name: version(name) for name in ("bertwright", "torch", "transformers", "tokenizers", "numpy")}
    return {"python": python_version(), **packages, "system": platform(terse=True)}


def origin(tensors: Sequence[Tensor]) -> str:
    """`new`, `loaded`, or how many of each."""
    loaded = sum(tensor.loaded for tensor in tensors)
    if loaded in (0, len(tensors)):
        return "loaded" if loaded else "new"
    return f"{loaded} of {len(tensors)} tensors loaded, the rest new"


def millions(number: int) -> str:
    """11200000 -> `11.2 M`."""
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number:,}"
