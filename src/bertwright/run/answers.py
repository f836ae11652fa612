"""What a model says of whole rows, and what that is worth where it does not add over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from ..data.pack import pack, split
from ..data.plan import by_item
from ..flow import Row
from ..tasks.base import LabelledTask
from ..tasks.model import Model
from ..text.labelled import LabelledRow
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
    cut = list(by_item(rows, task.examples, EVALUATION_SEED))
    said: dict[int, dict[str, Any]] = {}
    for group in split(chain.from_iterable(cut), micro_tokens):
        batch = pack(group, rows[0].vocabulary).to(device)
        with products_in(precision, device):
            answers = task.answers(model.encoder, head, batch)
        said |= {example.key: answer for example, answer in zip(group, answers, strict=True)}
    whole = zip(rows, cut, strict=True)
    return [task.together(row, examples, [said[example.key] for example in examples]) for row, examples in whole]


def graded(model: Model, rows: Sequence[Row], precision: str, micro_tokens: int) -> dict[str, float]:
    """What the model's task makes of its answers to labelled rows; nothing where it has no such measures."""
    task = model.task
    if not isinstance(task, LabelledTask) or not task.grades or not len(rows):
        return {}
    parts = [rows[start : start + ROWS_AHEAD] for start in range(0, len(rows), ROWS_AHEAD)]
    answers = [answered(model, part, precision, micro_tokens) for part in parts]
    return task.grade(rows, list(chain.from_iterable(answers)))


def without(fields: Mapping[str, Any], column: str) -> LabelledRow:
    """A row without what stands in a column, and still knowing where it stands itself."""
    return LabelledRow({**fields, column: None}, getattr(fields, "where", "a row"))
