"""Which columns of a dataset reach the model: those that its forward takes, and labels."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils.generic import find_labels

from ..errors import InputError

logger = logging.getLogger(__name__)
_ALWAYS = ("label", "label_ids")


def taken(model: nn.Module) -> list[str] | None:
    """The names that the model's forward takes; None where it takes any."""
    if _takes_any(model) and not isinstance(model, PreTrainedModel):
        return None
    parameters = inspect.signature(model.forward).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [*named, *(name for name in labels_said(model) if name not in named)]


def labels_said(model: nn.Module) -> tuple[str, ...]:
    """The labels that a model itself says it takes, as those under transformers' names here do."""
    return tuple(getattr(model, "label_names", ()))


def labels_of(model: nn.Module) -> list[str]:
    """The names of the labels that a model takes."""
    named = find_labels(type(model)) if isinstance(model, PreTrainedModel) else []
    return named or [name for name in taken(model) or ["labels"] if "label" in name or name.endswith("_positions")]


def without_unused(dataset: Any, kept: list[str], model: nn.Module, said: set[str]) -> Any:
    """A `datasets.Dataset` without the columns that the model does not take; `said` are those known to the person.

    Raises InputError when none is left.
    """
    unused = [name for name in dataset.column_names if name not in kept]
    _say(unused, kept, list(dataset.column_names), model, said)
    return dataset.remove_columns(unused) if unused else dataset


class Keeping:
    """A collator that first removes what the model does not take from examples that are mappings."""

    def __init__(self, collate: Callable[[list[Any]], Any], kept: list[str], model: nn.Module, said: set[str]) -> None:
        self._collate, self._kept, self._model, self._said = collate, kept, model, said
        self._looked = False

    def __call__(self, examples: list[Any]) -> Any:
        if examples and isinstance(examples[0], Mapping):
            if not self._looked:
                self._looked = True
                unused = [name for name in examples[0] if name not in self._kept]
                _say(unused, self._kept, list(examples[0]), self._model, self._said)
            examples = [{k: v for k, v in example.items() if k in self._kept} for example in examples]
        return self._collate(examples)


def refuse_unknown(model: nn.Module, names: list[str]) -> None:
    """Raises InputError when a batch has something that the model's forward does not take."""
    # transformers' own classes take any name, and do nothing with it; a person's class has its reasons.
    own = not type(model).__module__.startswith(("transformers.", "bertwright."))
    known = None if own and _takes_any(model) else taken(model)
    if known is not None and (strange := [name for name in names if name not in known]):
        raise InputError(
            f"a batch has {', '.join(strange)}, which {type(model).__name__} does not take; it takes "
            f"{', '.join(known)}: mend the data_collator, or override compute_loss"
        )


def _say(unused: list[str], kept: list[str], columns: list[str], model: nn.Module, said: set[str]) -> None:
    kind = type(model).__name__
    if len(unused) == len(columns):
        raise InputError(
            f"the dataset has the columns {', '.join(columns)}, and {kind} takes none of them but {', '.join(kept)}; "
            "tokenize the text first, or pass remove_unused_columns=False where the data_collator does"
        )
    if new := [name for name in unused if name not in said]:
        said.update(new)
        logger.warning(f"Columns that {kind} does not take are left out: {', '.join(new)}.")


def _takes_any(model: nn.Module) -> bool:
    """Whether the model's forward takes other names than those that it lists."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model.forward).parameters.values())
