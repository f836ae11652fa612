"""Examples of any lengths to arrays of one: what collators do before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from ..errors import InputError, RecipeError

IDS, ATTENTION, TYPES, SPECIAL = "input_ids", "attention_mask", "token_type_ids", "special_tokens_mask"
KINDS = ("pt", "np")


def check_kind(kind: str) -> str:
    """The kind of tensors itself. Raises RecipeError for one that there is not."""
    if kind not in KINDS:
        raise RecipeError(f"return_tensors is {kind!r}; accepted are 'pt' and 'np', for PyTorch and numpy")
    return kind


def padded(
    features: Sequence[Any], tokenizer: PreTrainedTokenizerBase, multiple: int | None, left_out: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Columns [B, L] of token ids and what goes with them, padded on the tokenizer's side, and the others stacked.

    L is the longest example's length, or the next multiple. A feature is a mapping, or token ids alone. There is an
    attention mask among the columns whether the features have one or not. Raises InputError for a column that some
    examples lack, that is no number, or whose lengths differ.
    """
    rows = [feature if isinstance(feature, Mapping) else {IDS: feature} for feature in features]
    if not rows:
        raise InputError("a batch without examples")
    columns = {name: _column(rows, name) for name in rows[0] if name not in left_out}
    if IDS not in columns:
        raise InputError(f"an example has no {IDS}; its columns are {', '.join(map(str, rows[0])) or 'none'}")
    lengths = [len(ids) for ids in columns[IDS]]
    columns.setdefault(ATTENTION, [np.ones(length, np.int64) for length in lengths])
    fillers = {IDS: _pad_id(tokenizer, lengths, multiple), ATTENTION: 0, TYPES: tokenizer.pad_token_type_id, SPECIAL: 1}
    length = max(lengths)
    length += -length % (multiple or 1)
    left = tokenizer.padding_side == "left"
    return {
        name: _filled(column, length, fillers[name], left) if name in fillers else _stacked(name, column)
        for name, column in columns.items()
    }


def as_kind(columns: Mapping[str, np.ndarray], kind: str) -> BatchEncoding:
    """The columns as tensors, numbers with a point in float32, or as they are."""
    made = columns if kind == "np" else {name: torch.from_numpy(column) for name, column in columns.items()}
    return BatchEncoding(dict(made))


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[np.ndarray]:
    for number, row in enumerate(rows):
        if name not in row:
            raise InputError(f"example {number} of a batch has no column {name!r}, which the first one has")
    return [array(row[name]) for row in rows]


def array(values: Any) -> np.ndarray:
    """Whole numbers as int64, others as float32."""
    found = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    return found.astype(np.float32 if found.dtype.kind == "f" else np.int64) if found.dtype.kind in "biuf" else found


def _pad_id(tokenizer: Any, lengths: list[int], multiple: int | None) -> int:
    if tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    if len(set(lengths)) > 1 or lengths[0] % (multiple or 1):
        raise RecipeError("the tokenizer has no pad token, and the examples need one; set tokenizer.pad_token")
    return 0


def _filled(column: list[np.ndarray], length: int, filler: int, left: bool) -> np.ndarray:
    filled = np.full((len(column), length), filler, np.int64)
    for row, values in zip(filled, column, strict=True):
        row[length - len(values) if left else 0 :][: len(values)] = values
    return filled


def _stacked(name: str, column: list[np.ndarray]) -> np.ndarray:
    kinds = {values.dtype.kind for values in column}
    if not kinds <= set("if"):
        raise InputError(
            f"the column {name!r} holds no numbers; leave it out, as dataset.remove_columns({name!r}) does"
        )
    shapes = sorted({values.shape for values in column})
    if len(shapes) > 1:
        raise InputError(f"the column {name!r} has examples of different shapes, as {shapes[0]} and {shapes[-1]}")
    return np.stack(column)
