"""What a model says of whole rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..data.pack import pack, split
from ..data.plan import in_order
from ..flow import Row
from ..tasks.model import Model
from ..train.precision import products_in
from .sources import EVALUATION_SEED

ROWS_AHEAD = 2048
"""How many rows are looked at together, so that sequences of a batch are of similar length."""


@torch.inference_mode()
def answered(model: Model, rows: Sequence[Row], precision: str, micro_tokens: int) -> list[dict[str, Any]]:
    """What the part of the model that answers for rows says of each, in order; labels are not looked at."""
    model.eval()
    ((task, head),) = model.task.answering(model.head)
    device = next(model.parameters()).device
    answers: dict[int, dict[str, Any]] = {}
    examples = list(in_order(rows, task.examples, EVALUATION_SEED))
    for group in split(examples, micro_tokens):
        batch = pack(group, rows[0].vocabulary).to(device)
        with products_in(precision, device):
            said = task.answers(model.encoder, head, batch)
        answers |= {example.key: answer for example, answer in zip(group, said, strict=True)}
    return [answers[example.key] for example in examples]
