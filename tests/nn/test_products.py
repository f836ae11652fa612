"""fp32 products by oneDNN: the same numbers, and only where no gradient is asked for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bertwright.nn.products import ByOneDnn

X = torch.randn(70, 32, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(48, 32, generator=torch.Generator().manual_seed(1))
BIAS = torch.randn(48, generator=torch.Generator().manual_seed(2))


def operators(dtype: torch.dtype, grad: bool) -> set[str]:
    """Which operators a linear map comes to in the context."""
    x, weight = X.to(dtype), WEIGHT.to(dtype).requires_grad_(grad)
    with torch.set_grad_enabled(grad), ByOneDnn(), torch.profiler.profile() as profile:
        F.linear(x, weight)
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("bias", [None, BIAS], ids=["no bias", "bias"])
@pytest.mark.parametrize("weight", [WEIGHT, WEIGHT.repeat(2, 1).chunk(2)[1], WEIGHT.T.contiguous().T])
@torch.no_grad()
def test_the_same_numbers(weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    with ByOneDnn():
        found = F.linear(X[::2], weight, bias=bias)
    torch.testing.assert_close(found, F.linear(X[::2], weight, bias))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_onednn_computes_what_needs_no_gradient_in_fp32() -> None:
    assert "mkldnn::_linear_pointwise" in operators(torch.float32, grad=False)
    assert "mkldnn::_linear_pointwise" not in operators(torch.float64, grad=False)
    assert "mkldnn::_linear_pointwise" not in operators(torch.float32, grad=True)


def test_gradients_arrive() -> None:
    weight = WEIGHT.clone().requires_grad_()
    with ByOneDnn():
        (gradient,) = torch.autograd.grad(F.linear(X, weight, BIAS).sum(), weight)
    torch.testing.assert_close(gradient, X.sum(0).expand(48, 32))
