"""transformers' outputs with a field that is computed when it is first looked at.

A training step reads the loss alone, and logits over the vocabulary at every token are most of what it could save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.bert.modeling_bert import BertForPreTrainingOutput
from transformers.utils.generic import ModelOutput

from ...errors import RunError


class Later:
    """What `compute` will give of `weights`, with or without gradient as it was asked for, and in the number format
    of then."""

    def __init__(self, compute: Callable[[], Tensor], device: torch.device, weights: Iterable[Tensor]) -> None:
        self._compute = compute
        self._weights = tuple(weights)
        self._states = self._states_now()
        self._where = device.type
        self._gradient = torch.is_grad_enabled()
        on = torch.is_autocast_enabled(self._where)
        self._format = torch.get_autocast_dtype(self._where) if on else None

    def __call__(self) -> Tensor:
        """Raises RunError where the weights have changed: what was asked for cannot be had any more."""
        if self._states_now() != self._states:
            raise RunError("logits first looked at after the weights changed; read output.logits before a step")
        mixed = torch.autocast(self._where, dtype=self._format, enabled=self._format is not None)
        with torch.set_grad_enabled(self._gradient), mixed:
            return self._compute()

    def _states_now(self) -> list[int]:
        """How often each weight was written to; those made in inference mode do not count it."""
        return [0 if weight.is_inference() else weight._version for weight in self._weights]


class _Late(ModelOutput):
    """As any output, but what is `Later` becomes a tensor when it is first looked at, by whatever way."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if isinstance(value, Later):
            self[name] = value = value()
        return value

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return getattr(self, key) if key in self.keys() else super().__getitem__(key)
        names = list(self.keys())[key]
        return getattr(self, names) if isinstance(names, str) else tuple(getattr(self, name) for name in names)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self.keys() else default

    def items(self) -> Any:
        self._made()
        return super().items()

    def values(self) -> Any:
        self._made()
        return super().values()

    def _made(self) -> None:
        for name in list(self.keys()):
            getattr(self, name)


@dataclass
class LateMaskedLMOutput(_Late, MaskedLMOutput):
    """`logits` [B, L, V] are computed when they are first looked at."""


@dataclass
class LatePreTrainingOutput(_Late, BertForPreTrainingOutput):
    """`prediction_logits` [B, L, V] are computed when they are first looked at."""
