"""Muon: matrices stepped by their gradient's nearest orthogonal matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from .lean import Lean
from .precision import bf16_is_fast

_STEEP = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_EPS = 1e-7
_TOGETHER = 1 << 22
"""Numbers of matrices that are updated together: what that takes of memory is a few times as many bytes."""


class StackedMuon(Lean):
    """Muon, where a parameter may hold several matrices one above the other, each updated for itself.

    (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.) `stacks` says of how many a
    parameter is made, by its name. The parts are views of the parameter, so there is nothing to copy. `lr` is for a
    square matrix; higher ones get the root of height over width more. Where the hardware multiplies bf16 the numbers
    are those of `torch.optim.Muon`, bit for bit unless threads share the sums of a large product; that one stays with
    bf16 elsewhere too, where a step of it takes 35 times as long as in fp32.
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
            for some in _together([part for part in group["params"] if part.grad is not None]):
                self._update(some, group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for whole, _, _ in self._wholes:
            whole.grad = None

    def _update(self, parts: list[Tensor], group: dict[str, Any]) -> None:
        """Of parts that are all of one shape."""
        directions = [self._direction(part, group["momentum"]) for part in parts]
        updates = orthogonalised(torch.stack(directions)) if len(parts) > 1 else [orthogonalised(directions[0])]
        height, width = parts[0].shape
        for part, update in zip(parts, updates, strict=True):
            part.mul_(1 - group["lr"] * group["weight_decay"])
            part.add_(update, alpha=-group["lr"] * sqrt(max(1, height / width)))

    def _direction(self, part: Tensor, momentum: float) -> Tensor:
        grad, state = part.grad, self.state[part]
        assert grad is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        state["momentum_buffer"].lerp_(grad, 1 - momentum)
        # Nesterov's: one step further along than the momentum itself.
        return grad.lerp(state["momentum_buffer"], momentum)


def orthogonalised(matrix: Tensor) -> Tensor:
    """[M, N] or [K, M, N] with all but each matrix's smallest singular values moved to 0.6 to 1.2, by five steps of
    Newton and Schulz.

    The steps are quintic, steep at 0 rather than exact at 1, as Jordan et al. chose them. In bf16 where the hardware
    multiplies it, else in fp32.
    """
    a, b, c = _STEEP
    product = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    x = matrix.to(torch.bfloat16 if bf16_is_fast(matrix.device) else torch.float32)
    high = matrix.shape[-2] > matrix.shape[-1]
    x = x.mT if high else x
    x = x / x.flatten(-2).norm(dim=-1).clamp(min=_EPS)[..., None, None]
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = product(x, product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if high else x


def _together(parts: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The parts in groups of one shape, each a product of batches: two to three times as fast in bf16 for matrices of
    256 x 256, and by a quarter slower in fp32, where each is on its own."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for part in parts:
        shapes.setdefault(part.shape, []).append(part)
    for shape, alike in shapes.items():
        most = max(1, _TOGETHER // shape.numel()) if bf16_is_fast(alike[0].device) else 1
        for first in range(0, len(alike), most):
            yield alike[first : first + most]


def _part_names(name: str, parts: tuple[Tensor, ...]) -> Iterator[tuple[str, Tensor]]:
    for index, part in enumerate(parts):
        yield (name if len(parts) == 1 else f"{name}[{index}]"), part
