"""torch's optimizers without torch's compiler.

They call on it only to be left alone by it, which brings it in: 0.4 s of the way to a first step. No step is compiled
here, so what they hold is called as it is.
"""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch

_add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
_zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
_adamw_step = unwrap(torch.optim.AdamW.step)


class Lean(torch.optim.Optimizer):
    """torch's base of optimizers; `step` is a concrete one's."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's."""
        _add_param_group(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's."""
        _zero_grad(self, set_to_none)


class AdamW(Lean, torch.optim.AdamW):
    """torch's (Loshchilov and Hutter, ICLR 2019), to its own numbers."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """As torch's."""
        _adamw_step(self, closure)
