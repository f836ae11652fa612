"""Writing a model as a Hugging Face checkpoint with its provenance and card, and checking what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel
from transformers.utils import logging

from ..data.pack import pack
from ..encoders import exchange
from ..errors import RunError
from ..files import write_text
from ..flow import Example
from ..seeds import generator
from ..tasks.mlm import ordinary_ids
from ..tasks.model import Model
from ..text.tokenizer import Tokenizer
from .card import card
from .provenance import Provenance
from .spec import Recipe

TOLERANCE = 1e-4
"""The largest difference in a logit, in fp32, that is put down to rounding."""
LENGTH = 160
"""Tokens in the sequences that are compared: more than local attention sees."""


def write(path: Path, model: Model, tokenizer: Tokenizer, provenance: Provenance) -> None:
    """Writes what transformers loads, and the provenance beside it, into the folder `path`; companions inside it."""
    names, config = model.hf_names(), type(model.encoder.config).from_dict(model.encoder.config.to_dict())
    for key, value in model.task.config_changes().items():
        setattr(config, key, value)
    tensors = {names[own]: parameter for own, parameter in model.named_parameters()}
    exchange.save(path, config, {n: x for n, x in tensors.items() if "/" not in n}, architecture(model))
    tokenizer.save(path, model.encoder.inputs)
    for name, text in model.task.files(model.encoder).items():
        (path / name).parent.mkdir(exist_ok=True)
        write_text(path / name, text)
    provenance.write(path)
    for folder, one in model.task.companions(model.encoder).items():
        own = {n.removeprefix(f"{folder}/"): x for n, x in tensors.items() if n.startswith((f"{folder}/", one.shares))}
        exchange.save(path / folder, one.config, own, one.architecture)
        tokenizer.save(path / folder, model.encoder.inputs)


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
    write_text(path / "README.md", card(recipe, provenance, architecture(model), pipeline, mistakes))


@torch.no_grad()
def check(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    """Loads what was written with transformers and compares the logits, or the vectors where there is no head.

    Raises RunError when they differ, which would be a fault of bertwright.
    """
    model.eval()
    length = min(LENGTH, model.encoder.config.max_position_embeddings)
    words = ordinary_ids(tokenizer.vocabulary)
    ids = [generator("check", row).choice(words, length - 2) for row in range(2)]
    examples = [tokenizer.vocabulary.single(row) for row in ids]
    examples = [Example.joined(examples, {})] if model.task.several else examples
    batch = pack(examples, tokenizer.vocabulary)
    device = next(model.parameters()).device
    ours = model.task.logits(model.encoder, model.head, model.task.asks(batch).to(device))
    ours |= {"vectors": model.encoder(batch.to(device))}
    shape = (*(1,) * model.task.several, 2, length)
    companions = {path / folder: one.architecture for folder, one in model.task.companions(model.encoder).items()}
    for folder, kind in {path: architecture(model), **companions}.items():
        said = _read_back(folder, kind).eval()(input_ids=batch.ids.view(shape))
        expected = {key: value for key, value in said.items() if key.endswith("logits")} or {"vectors": said[0]}
        for key, logits in expected.items():
            alike = [own.cpu().view(logits.shape) for own in ours.values() if own.numel() == logits.numel()]
            differ = [float((logits - own).abs().max()) for own in alike]
            if not any(difference < TOLERANCE for difference in differ):
                raise RunError(f"{folder}: transformers reads other {key} from it than were written (by {differ})")


def _read_back(path: Path, kind: str) -> PreTrainedModel:
    """transformers' model, without its report on tensors of heads that it has no class for."""
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return getattr(transformers, kind).from_pretrained(path)
    finally:
        logging.set_verbosity(before)
