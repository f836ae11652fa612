"""Dropout (Srivastava et al., JMLR 2014) that does not cost a CPU more than the layer around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor, nn
from torch.nn import functional as F

ZEROS = {
    dtype: torch.zeros((), dtype=dtype, device="cpu")
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
}
"""What kernels ask for as something to add to, where there is nothing: a new one each time costs as much as they do."""


class Dropout(nn.Module):
    """In training zeroes each number with probability `p` and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        return dropout(x, self.active, onto)

    @property
    def active(self) -> float:
        """`p` in training, 0 otherwise."""
        return self.p if self.training else 0.0

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropout(x: Tensor, p: float, onto: Tensor | None = None) -> Tensor:
    """`x` with each number zeroed with probability `p` (to 1/65536) and the others scaled by 1 / (1 - p).

    Where there is `onto`, of the same shape, it is that and `x` so treated added up. What is dropped is a function of
    torch's seed. torch's own dropout draws a number in floating point for each element on a CPU; 16 bits of a 64-bit
    draw are enough, and take a ninth of the time.
    """
    if p == 0 or x.device.type != "cpu" or torch.compiler.is_compiling():
        dropped = F.dropout(x, p) if p else x
        return dropped if onto is None else onto + dropped
    return _Scaled.apply(x, kept(x.numel(), p).to(x.dtype).view(x.shape), 1 / (1 - p), onto)  # type: ignore[no-any-return]


def scaled(x: Tensor, keep: Tensor, scale: float, onto: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """onto + x * keep * scale on a CPU in one pass, with the scale not rounded to the type of x."""
    return torch.addcmul(ZEROS[x.dtype] if onto is None else onto, x, keep, value=scale, out=out)


def kept(count: int, p: float) -> Tensor:
    """[count] 1 with probability 1 - p, else 0; PCG64 DXSM from a state that torch's generator draws.

    In what is compiled, which knows no other draws, by torch's generator itself.
    """
    if torch.compiler.is_compiling():
        return torch.rand(count) >= p
    bits = np.random.PCG64DXSM(_DRAWN).random_raw(-(-count // 4)).view(np.int16)[:count]  # type: ignore[arg-type]
    return torch.from_numpy(bits).ge_(round(p * 65536) - 32768)


class _Drawn(ISeedSequence):
    """Words of torch's generator as they come: what makes a state of one word costs as much as a mask of few."""

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return torch.randint(2**63 - 1, (n_words,)).numpy().view(dtype)


_DRAWN = _Drawn()


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float, onto: Tensor | None) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale, ctx.below = scale, None if onto is None else onto.dtype
        return scaled(x, keep, scale, onto)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (keep,) = grads, ctx.saved_tensors
        below = None if ctx.below is None else grad.to(ctx.below)
        return scaled(grad.to(keep.dtype), keep, ctx.scale), None, None, below
