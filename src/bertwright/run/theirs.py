"""A checkpoint as plain transformers loads it, what it takes, and how far its answers are from ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers import PretrainedConfig
from transformers.utils import logging

from ..data.pack import pack
from ..encoders.exchange import Checkpoint
from ..errors import CheckpointError
from ..flow import Batch, Example, Vocabulary
from ..seeds import generator
from ..tasks.mlm import ordinary_ids
from ..tasks.model import Model

if TYPE_CHECKING:  # transformers' models take 2 s to import, which nobody has to wait for before they are compared.
    from transformers import PreTrainedModel

ALLOWED = 1e-5
"""The largest difference in fp64 put down to rounding, as a share of the largest value where that is above 1.

transformers rounds some of what it computes to fp32 in fp64 too, as the turns of rotary positions.
"""
LENGTH = 160
"""Tokens in the longest sequence that is compared: more than local attention sees."""


class Theirs(NamedTuple):
    """transformers' model, and which of its tensors were drawn at random, and what of the checkpoint it left out."""

    model: PreTrainedModel
    missing: list[str]
    unexpected: list[str]
    without_pooler: bool = False
    """The class has a pooler of which the checkpoint has no weights, and was made without it."""


class Difference(NamedTuple):
    """How far ours and transformers' are apart in one output."""

    largest: float
    of: float
    """The largest value there is, in magnitude."""


def class_of(source: Checkpoint) -> str:
    """transformers' class for a checkpoint: the one its config names, else the bare encoder's.

    Raises CheckpointError when the config names a class that transformers does not have.
    """
    for name in source.config.architectures or ():
        if hasattr(transformers, name):
            return name
        raise CheckpointError(f"{source.path}: its class is {name}, and transformers has no such class")
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return MODEL_MAPPING_NAMES[source.config.model_type]


def loaded(path: Path, kind: str, **settings: Any) -> Theirs:
    """transformers' class `kind` with the weights of a folder, in fp32 and ready to answer; no remote code runs."""
    found = _read(path, kind, **settings)
    if not found.missing or any(not name.startswith("pooler.") for name in found.missing):
        return found
    return _read(path, kind, add_pooling_layer=False, **settings)._replace(without_pooler=True)


def _read(path: Path, kind: str, **settings: Any) -> Theirs:
    with silently():
        model, said = getattr(transformers, kind).from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **settings
        )
    return Theirs(model.eval(), sorted(said["missing_keys"]), sorted(said["unexpected_keys"]))


@contextmanager
def silently() -> Iterator[None]:
    """Without transformers' report on tensors, which are said in one line here."""
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def padded(batch: Batch, inputs: Collection[str]) -> dict[str, Tensor]:
    """[S, T] a packed batch as transformers takes it: those of `inputs`, such as `input_ids` and `attention_mask`."""
    shape = len(batch), max(batch.lengths)
    sequence = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(batch.lengths))
    at = sequence, batch.positions.cpu()
    nothing = torch.zeros(shape, dtype=torch.long)
    known = {
        "input_ids": torch.full(shape, batch.vocabulary.pad).index_put(at, batch.ids.cpu()),
        "attention_mask": nothing.index_put(at, torch.ones_like(batch.ids, device="cpu")),
        "token_type_ids": nothing.index_put(at, batch.segments.cpu()),
    }
    return {name: known[name] for name in inputs}


def sample(vocabulary: Vocabulary, config: PretrainedConfig, several: bool) -> Batch:
    """Three sequences of random words and of different lengths, one of them a pair; one example where `several`."""
    longest = min(LENGTH, config.max_position_embeddings)
    lengths = longest, max(3, longest // 3), max(5, longest // 2)
    first, second, third = (
        generator("check", row).choice(ordinary_ids(vocabulary), length - 2) for row, length in enumerate(lengths)
    )
    half = len(third) // 2
    has_segments = getattr(config, "type_vocab_size", 2) > 1
    both = vocabulary.pair(third[:half], third[half + 1 :]) if has_segments else vocabulary.single(third)
    examples = [vocabulary.single(first), vocabulary.single(second), both]
    return pack([Example.joined(examples, {})] if several else examples, vocabulary)


def exact(model: Model) -> Model:
    """A copy on the CPU in fp64. In fp32 an encoder that has learned for long multiplies rounding a thousandfold."""
    return deepcopy(model).to("cpu", torch.float64)


@torch.no_grad()
def ours(model: Model, batch: Batch) -> dict[str, Tensor]:
    """What our model says of everything it can be asked, and its vectors, of a packed batch."""
    model.eval()
    there = batch.to(next(model.parameters()).device)
    said = model.task.logits(model.encoder, model.head, model.task.asks(batch).to(there.ids.device))
    return {name: x.cpu() for name, x in (said | {"vectors": model.encoder(there)}).items()}


@torch.no_grad()
def differences(
    theirs: Callable[..., Mapping[str, Tensor]], model: Model, batch: Batch, said: Mapping[str, Tensor]
) -> dict[str, Difference]:
    """By output of another's model, its logits or where it has none its vectors: how far the nearest of `said` is.

    `theirs` is called as transformers' models are, and may be one.

    `said` is what `ours` says with `model` of the batch. An output of a shape that none of it has is infinitely far.
    """
    asked = padded(batch, {"attention_mask", *model.encoder.inputs})
    kept = asked["attention_mask"].bool()
    answers = theirs(**{name: x[None] if model.task.several else x for name, x in asked.items()})
    compared = {name: x for name, x in answers.items() if name.endswith("logits")}
    return {
        name: _nearest([x, x[kept]] if x.shape[:2] == kept.shape else [x], said)
        for name, x in (compared or {"last_hidden_state": answers["last_hidden_state"]}).items()
    }


def _nearest(forms: Sequence[Tensor], said: Mapping[str, Tensor]) -> Difference:
    pairs = [(form, one) for form in forms for one in said.values() if one.numel() == form.numel()]
    apart = [float((form.flatten() - one.flatten()).abs().max()) for form, one in pairs]
    return Difference(min(apart, default=float("inf")), float(forms[-1].abs().max()))
