from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bertwright.nn.norm import Norm


def weighed(width: int) -> Norm:
    norm = Norm(width, 1e-5)
    generator = torch.Generator().manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1.0, 0.5, generator)
    return norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outside_autocast_it_is_torchs(dtype: torch.dtype) -> None:
    norm, x = weighed(96).to(dtype), torch.randn(50, 96).to(dtype)
    plain = nn.LayerNorm(96, 1e-5).to(dtype)
    plain.load_state_dict(norm.state_dict())
    assert torch.equal(norm(x), plain(x))


def test_under_autocast_it_is_as_wide_as_products_are() -> None:
    norm, x = weighed(96), torch.randn(50, 96, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    grads = [x.grad, norm.weight.grad, norm.bias.grad]
    assert [grad.dtype for grad in grads if grad is not None] == 3 * [torch.float32]


@pytest.mark.parametrize("mean", [0.0, 3.0, 50.0])
def test_its_statistics_are_not_rounded(mean: float) -> None:
    """Numbers of bf16 are 0.25 apart near 50, so a mean or a variance of that type would be far off."""
    torch.manual_seed(0)
    norm, x = weighed(256), torch.randn(64, 256) + mean
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    want = F.layer_norm(x.bfloat16().float(), (256,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(y.float(), want, rtol=2**-8, atol=2**-8)
    assert (y == want.bfloat16()).float().mean() > 0.99
