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
    """Writes what transformers loads, and the provenance beside it, into the folder `path`."""
    names, config = model.hf_names(), type(model.encoder.config).from_dict(model.encoder.config.to_dict())
    for key, value in model.task.config_changes().items():
        setattr(config, key, value)
    tensors = {names[own]: parameter for own, parameter in model.named_parameters()}
    exchange.save(path, config, tensors, architecture(model))
    tokenizer.save(path, model.encoder.inputs)
    provenance.write(path)


def architecture(model: Model) -> str:
    """transformers' class for the model: that for its head, as `BertForPreTraining`; else that for the first part of it
    that has one, as `ModernBertForMaskedLM` for masked LM and another; else the bare `BertModel`. A part that answers
    for rows goes before all others."""
    family = type(model.encoder.config).__name__.removesuffix("Config")
    answering = [task for task, _ in model.task.answering(model.head)]
    parts = getattr(model.task, "parts", ()) if model.task.hf_class else ()
    wanted = [f"{family}For{task.hf_class}" for task in (*answering, model.task, *parts)]
    return next((name for name in wanted if hasattr(transformers, name)), f"{family}Model")


def write_card(path: Path, recipe: Recipe, provenance: Provenance, mistakes: Sequence[str]) -> None:
    """Writes the model card, with lines on the model's mistakes."""
    write_text(path / "README.md", card(recipe, provenance, mistakes))


@torch.no_grad()
def check(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    """Loads what was written with transformers and compares the logits.

    Raises RunError when they differ, which would be a fault of bertwright.
    """
    model.eval()
    theirs = _read_back(path, architecture(model)).eval()
    length = min(LENGTH, model.encoder.config.max_position_embeddings)
    words = ordinary_ids(tokenizer.vocabulary)
    ids = [generator("check", row).choice(words, length - 2) for row in range(2)]
    batch = pack([tokenizer.vocabulary.single(row) for row in ids], tokenizer.vocabulary)
    said = theirs(input_ids=batch.ids.view(2, length))
    expected = {key: value.flatten(0, -2) for key, value in said.items() if key.endswith("logits")}
    device = next(model.parameters()).device
    ours = model.task.logits(model.encoder, model.head, model.task.asks(batch).to(device))
    for key, logits in expected.items():
        differ = [float((logits - own.cpu()).abs().max()) for own in ours.values() if own.shape == logits.shape]
        if not any(difference < TOLERANCE for difference in differ):
            raise RunError(f"{path}: transformers reads other {key} from it than were written (by {differ})")


def _read_back(path: Path, kind: str) -> PreTrainedModel:
    """transformers' model, without its report on tensors of heads that it has no class for."""
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return getattr(transformers, kind).from_pretrained(path)
    finally:
        logging.set_verbosity(before)
