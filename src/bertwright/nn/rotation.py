"""Rotary positions: queries and keys turned by angles that grow with the position (Su et al., "RoFormer", 2021)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """The angles of a batch's tokens, as the tables that turning needs; computed once a batch."""

    cos: Tensor
    """[N, 1, d]"""
    sin: Tensor
    """[N, 1, d], negative in the first half"""

    @classmethod
    def of(cls, positions: Tensor, longest: int, width: int, theta: float) -> Rotation:
        """For `positions` [N] below `longest`, heads `width` wide: the i-th pair turns by theta^(-2i/width) a token."""
        device = positions.device
        speeds = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
        angles = torch.arange(longest, dtype=torch.float32, device=device)[:, None] * speeds
        cos, sin = angles.cos(), angles.sin()
        tables = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
        return cls(*(table[positions, None] for table in tables))

    def at(self, reads: Tensor) -> Rotation:
        """Those of the tokens `reads` [R]."""
        return Rotation(self.cos[reads], self.sin[reads])

    def __call__(self, x: Tensor) -> Tensor:
        """[N, h, d] turned; a head's i-th number makes a pair with the one half a head further on."""
        return _Turn.apply(x, self.cos.to(x.dtype), self.sin.to(x.dtype))  # type: ignore[no-any-return]


class _Turn(torch.autograd.Function):
    """Of several ways to write this the one that takes a CPU least time; the gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        half = x.shape[-1] // 2
        turned = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        turned[..., :half], turned[..., half:] = x[..., half:], x[..., :half]
        return turned.mul_(sin).addcmul_(x, cos)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _Turn.apply(grads[0], cos, -sin), None, None
