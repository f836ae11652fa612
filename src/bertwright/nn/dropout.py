"""Dropout (Srivastava et al., JMLR 2014) that does not cost a CPU more than the layer around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """In training zeroes each number with probability `p` and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.active)

    @property
    def active(self) -> float:
        """`p` in training, 0 otherwise."""
        return self.p if self.training else 0.0

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with each number zeroed with probability `p` (to 1/65536) and the others scaled by 1 / (1 - p).

    What is dropped is a function of torch's seed. torch's own dropout draws a number in floating point for each element
    on a CPU; 16 bits of a 64-bit draw are enough, and take a ninth of the time.
    """
    if p == 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    return _Scaled.apply(x, kept(x.numel(), p).to(x.dtype).view(x.shape), 1 / (1 - p))  # type: ignore[no-any-return]


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
    """x * keep * scale in one pass each way, with the scale not rounded to the type of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.addcmul(x.new_zeros(()), x, keep, value=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return torch.addcmul(grads[0].new_zeros(()), grads[0], keep, value=ctx.scale), None, None
