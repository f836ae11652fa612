"""Muon: matrices stepped by their gradient's nearest orthogonal matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from .precision import bf16_is_fast

_STEEP = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_EPS = 1e-7


class StackedMuon(torch.optim.Optimizer):
    """Muon, where a parameter may hold several matrices one above the other, each updated for itself.

    (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.) `stacks` says of how many a
    parameter is made, by its name. The parts are views of the parameter, so there is nothing to copy. `lr` is for a
    square matrix; higher ones get the root of height over width more. Where the hardware multiplies bf16 the numbers
    are those of `torch.optim.Muon`, bit for bit; that one stays with bf16 elsewhere too, where a step of it
    takes 35 times as long as in fp32.
    """

    def __init__(
        self, wholes: Iterable[tuple[str, Tensor]], stacks: Mapping[str, int], lr: float, weight_decay: float
    ) -> None:
        self._wholes = [(whole, whole.detach().chunk(stacks.get(name, 1)), name) for name, whole in wholes]
        parts = [named for _, parts, name in self._wholes for named in _part_names(name, parts)]
        super().__init__(parts, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for whole, parts, _ in self._wholes:
            grads = [None] * len(parts) if whole.grad is None else whole.grad.chunk(len(parts))
            for part, grad in zip(parts, grads, strict=True):
                part.grad = grad
        for group in self.param_groups:
            for part in group["params"]:
                if part.grad is not None:
                    self._update(part, part.grad, group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for whole, _, _ in self._wholes:
            whole.grad = None

    def _update(self, part: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, (height, width) = self.state[part], part.shape
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
        # Nesterov's: one step further along than the momentum itself.
        direction = grad.lerp(state["momentum_buffer"], group["momentum"])
        part.mul_(1 - group["lr"] * group["weight_decay"])
        part.add_(orthogonalised(direction), alpha=-group["lr"] * sqrt(max(1, height / width)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """[M, N] with all but its smallest singular values moved to 0.6 to 1.2, by five steps of Newton and Schulz.

    The steps are quintic, steep at 0 rather than exact at 1, as Jordan et al. chose them. In bf16 where the hardware
    multiplies it, else in fp32.
    """
    a, b, c = _STEEP
    x = matrix.to(torch.bfloat16 if bf16_is_fast(matrix.device) else torch.float32)
    high = len(matrix) > matrix.shape[1]
    x = x.T if high else x
    x = x / x.norm().clamp(min=_EPS)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if high else x


def _part_names(name: str, parts: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor]]:
    for index, part in enumerate(parts):
        yield (name if len(parts) == 1 else f"{name}[{index}]"), part
