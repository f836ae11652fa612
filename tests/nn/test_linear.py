"""A linear layer by oneDNN against torch's own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertwright.nn.linear import Linear, linear


def tensors(rows: int, inner: int, outer: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(rows + inner)
    shapes = (rows, inner), (outer, inner), (outer,)
    x, weight, bias = (torch.randn(shape, generator=draws).to(dtype).requires_grad_() for shape in shapes)
    return x, weight, bias


def gradients(y: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    pull = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    return torch.autograd.grad((y.float() * pull).sum(), of)


@pytest.mark.parametrize(("inner", "outer"), [(24, 96), (96, 24), (32, 32), (8, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_in_fp32(inner: int, outer: int, biased: bool) -> None:
    x, weight, bias = tensors(50, inner, outer)
    of = (x, weight, bias) if biased else (x, weight)
    want, found = F.linear(*of), linear(x, weight, bias if biased else None)
    torch.testing.assert_close(found, want)
    for mine, theirs in zip(gradients(found, *of), gradients(want, *of), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)
        assert mine.is_contiguous()


def test_autocast_rounds_as_torch_does() -> None:
    x, weight, bias = tensors(64, 32, 128)
    with torch.autocast("cpu", torch.bfloat16):
        want, found = F.linear(x, weight, bias), linear(x, weight, bias)
    assert found.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(found, want)
    for mine, theirs in zip(gradients(found, x, weight, bias), gradients(want, x, weight, bias), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("context", [nullcontext(), torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("frozen", range(3))
def test_what_is_frozen_gets_no_gradient(context: AbstractContextManager[object], frozen: int) -> None:
    of = tensors(16, 8, 8)
    of[frozen].requires_grad_(False)
    with context:
        linear(*of).float().sum().backward()
    assert [part.grad is None for part in of] == [index == frozen for index in range(3)]


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (8,), (2, 3, 8)])
def test_all_shapes_that_torch_takes(shape: tuple[int, ...]) -> None:
    _, weight, bias = tensors(1, 8, 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    want, found = F.linear(x, weight, bias), linear(x, weight, bias)
    torch.testing.assert_close(found, want)
    for mine, theirs in zip(gradients(found, x, weight, bias), gradients(want, x, weight, bias), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_other_types_go_to_torch() -> None:
    x, weight, bias = tensors(8, 4, 4, torch.float64)
    assert torch.autograd.gradcheck(linear, (x, weight, bias))


def test_the_layer_has_the_weights_and_the_answers_of_torchs() -> None:
    theirs, ours = nn.Linear(16, 8), Linear(16, 8)
    ours.load_state_dict(theirs.state_dict())
    x = tensors(5, 16, 8)[0]
    torch.testing.assert_close(ours(x), theirs(x))
