"""Writing a model as a Hugging Face checkpoint with its provenance and card, and checking what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import transformers
from torch import Tensor

from ..data.store import TokenStore
from ..encoders import exchange
from ..encoders.naming import stored_unit
from ..errors import RunError
from ..files import write_text
from ..tasks.model import Model
from ..text.tokenizer import Tokenizer
from . import theirs
from .card import card, use_of
from .provenance import Provenance
from .spec import Recipe


def write(path: Path, model: Model, tokenizer: Tokenizer, provenance: Provenance) -> None:
    """Writes what transformers loads, and the provenance beside it, into the folder `path`; companions inside it."""
    names, config = model.hf_names(), type(model.encoder.config).from_dict(model.encoder.config.to_dict())
    for key, value in model.task.config_changes().items():
        setattr(config, key, value)
    tensors = {names[own]: _as_stored(model, own, parameter) for own, parameter in model.named_parameters()}
    exchange.save(path, config, {n: x for n, x in tensors.items() if "/" not in n}, architecture(model))
    longest = model.encoder.config.max_position_embeddings
    tokenizer.save(path, model.encoder.inputs, longest)
    for name, text in model.task.files(model.encoder).items():
        (path / name).parent.mkdir(exist_ok=True)
        write_text(path / name, text)
    provenance.write(path)
    for folder, one in model.task.companions(model.encoder).items():
        own = {n.removeprefix(f"{folder}/"): x for n, x in tensors.items() if n.startswith((f"{folder}/", one.shares))}
        exchange.save(path / folder, one.config, own, one.architecture)
        tokenizer.save(path / folder, model.encoder.inputs, longest)


def _as_stored(model: Model, own: str, parameter: Tensor) -> Tensor:
    unit = stored_unit(model, own)
    return parameter if unit == 1 else parameter * unit


def architecture(model: Model) -> str:
    """transformers' class for the model: that for its head, as `BertForPreTraining`; else that for the first part of it
    that has one, as `ModernBertForMaskedLM` for masked LM and another; else the bare `BertModel`. A part that answers
    for rows goes before all others."""
    family = type(model.encoder.config).__name__.removesuffix("Config")
    answering = [task for task, _ in model.task.answering(model.head)]
    parts = getattr(model.task, "parts", ()) if model.task.hf_class else ()
    wanted = [f"{family}For{task.hf_class}" for task in (*answering, model.task, *parts)]
    return next((name for name in wanted if hasattr(transformers, name)), f"{family}Model")


def write_card(path: Path, recipe: Recipe, provenance: Provenance, model: Model, mistakes: Sequence[str]) -> None:
    """Writes the model card, with lines on the model's mistakes."""
    pipelines = (part.pipeline for part in getattr(model.task, "parts", (model.task,)))
    pipeline = next(filter(None, pipelines), "")
    use = use_of(architecture(model), pipeline, model.task.files(model.encoder))
    write_text(path / "README.md", card(recipe, provenance, use, mistakes, _language(recipe)))


def _language(recipe: Recipe) -> str:
    """That of the text as a person has named it: what the script told is often another one of that script."""
    made = TokenStore(Path(recipe.data.store)).manifest["made"] if recipe.data.store else {"settings": {}}
    return made["settings"].get("language") or ""


def check(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    """Loads what was written with transformers and compares the logits, or the vectors where there is no head.

    Raises RunError when they differ, which would be a fault of bertwright.
    """
    batch = theirs.sample(tokenizer.vocabulary, model.encoder.config, model.task.several)
    ours = theirs.ours(theirs.exact(model), batch)
    for folder, kind in kinds(path, model).items():
        read = theirs.loaded(folder, kind).model.double()
        for key, apart in theirs.differences(read, model, batch, ours).items():
            if not apart.largest <= theirs.ALLOWED * max(1.0, apart.of):
                raise RunError(f"{folder}: transformers reads other {key} from it than were written (by {apart[0]})")


def kinds(path: Path, model: Model) -> dict[Path, str]:
    """transformers' class for each folder of a checkpoint: of its own, and those of its companions inside it."""
    companions = model.task.companions(model.encoder)
    return {path: architecture(model), **{path / folder: one.architecture for folder, one in companions.items()}}
