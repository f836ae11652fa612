"""A linear layer by oneDNN's own product with a bias, where torch takes a longer way on a CPU.

For a bias torch writes it out over the whole output first and has the product added to that, a pass over memory more;
and its products in fp32 go to MKL, which leaves AVX-512 alone on processors of another make than its own. Measured on
Zen 5: 1.25 times as fast in bf16, 2.2 times in fp32, to the same accuracy; on Zen 3, with AVX2: 1.0 to 1.2 times.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEW = 1024
"""Rows in bf16 below which a gradient in Python costs more than torch's longer way: a twentieth of a small step."""


class Linear(nn.Linear):
    """torch's linear layer, computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b for `x` [N, I], `weight` [O, I] and `bias` [O] -> [N, O]; under autocast in its type.

    Anything else that torch's own takes goes there, as do few rows, and no rows at all, which oneDNN refuses in the
    gradient.
    """
    where = x.device.type
    dtype = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else x.dtype
    least = _FEW if dtype == torch.bfloat16 else 1
    if x.ndim != 2 or len(x) < least or not _by_onednn(where, dtype):
        return F.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias, dtype)  # type: ignore[no-any-return]


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear` without a gradient, of tensors of one type and outside autocast."""
    if _by_onednn(x.device.type, x.dtype):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _by_onednn(where: str, dtype: torch.dtype) -> bool:
    return where == "cpu" and not torch.compiler.is_compiling() and dtype in _onednn_types()


@cache
def _onednn_types() -> tuple[torch.dtype, ...]:
    if not torch.backends.mkldnn.is_available():
        return ()
    return (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)


@cache
def _has_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        ctx.types = x.dtype, weight.dtype, bias.dtype if bias is not None else None
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype) if bias is not None else None
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        x_type, weight_type, bias_type = ctx.types
        return (
            product(grad, weight.t(), None).to(x_type) if of_x else None,
            _of_weight(grad, x).to(weight_type) if of_weight else None,
            grad.sum(0).to(bias_type) if of_bias else None,
            None,
        )


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    """[N, O]^T [N, I] -> [O, I]: in fp32 oneDNN is twice as fast where the wider of the two is its second operand.

    That is with AVX-512; with AVX2 it takes 1.1 to 1.6 times as long as MKL.
    """
    if grad.dtype != torch.float32 or not _by_onednn(grad.device.type, grad.dtype) or not _has_avx512():
        return grad.t() @ x
    if grad.shape[1] > x.shape[1]:
        return product(x.t(), grad.t(), None).t().contiguous()
    return product(grad.t(), x.t(), None)
