"""The fused projection and cross-entropy against torch's own, from logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bertwright.nn.cross_entropy import linear_cross_entropy

Given = tuple[Tensor, Tensor, Tensor, Tensor]


def given(rows: int, dtype: torch.dtype = torch.float32) -> Given:
    draws = torch.Generator().manual_seed(rows)
    x, weight, bias = (torch.randn(shape, dtype=dtype, generator=draws) for shape in ((rows, 16), (50, 16), (50,)))
    targets = torch.randint(50, (rows,), generator=draws)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


def from_logits(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, z_loss: float) -> Tensor:
    logits = F.linear(x, weight, bias).double()
    total = F.cross_entropy(logits, targets, reduction="sum")
    return total + z_loss * logits.logsumexp(-1).square().sum()


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("rows", [1, 33, 70])
def test_value_and_gradients(rows: int, z_loss: float) -> None:
    """33 and 70 rows are not sizes that products are done in."""
    x, weight, bias, targets = given(rows)
    mine, other = linear_cross_entropy(x, weight, bias, targets, z_loss), from_logits(x, weight, bias, targets, z_loss)
    parameters = x, weight, bias
    torch.testing.assert_close(mine.total.double(), other, rtol=1e-6, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(0.3 * mine.total, parameters), torch.autograd.grad(0.3 * other, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_gradient_by_differences() -> None:
    x, weight, bias, targets = given(5, torch.float64)

    def total(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, bias, targets, 0.1).total

    assert torch.autograd.gradcheck(total, (x, weight, bias))


def test_what_is_reported() -> None:
    x, weight, bias, targets = given(40)
    said = linear_cross_entropy(x, weight, bias, targets, z_loss=0.5)
    logits = F.linear(x, weight, bias)
    torch.testing.assert_close(said.nats, F.cross_entropy(logits, targets, reduction="sum").detach())
    assert int(said.correct) == int((logits.argmax(-1) == targets).sum())
    assert not said.nats.requires_grad


def test_without_z_loss_the_numbers_are_the_same() -> None:
    x, weight, bias, targets = given(40)
    said = linear_cross_entropy(x, weight, bias, targets)
    assert torch.equal(said.total, said.nats)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_in_bf16(scale: float) -> None:
    """Against the same bf16 logits with everything after them in fp32."""
    x, weight, bias, targets = given(64)
    x = (scale * x).detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        mine = linear_cross_entropy(x, weight, bias, targets)
        other = F.cross_entropy(F.linear(x, weight, bias).float(), targets, reduction="sum")
    assert mine.total.dtype == torch.float32
    assert abs(float((mine.total - other).detach())) <= 64 * 2e-3
    parameters = (x, weight, bias)
    grads = zip(torch.autograd.grad(mine.total, parameters), torch.autograd.grad(other, parameters), strict=True)
    for a, b in grads:
        assert a.dtype == torch.float32
        assert float((a - b).norm()) <= 0.01 * float(b.norm())


def test_z_loss_in_bf16() -> None:
    """What it adds to the gradient is some thousandths of it, less than bf16 tells apart."""
    draws = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(shape, generator=draws).mul_(0.3) for shape in ((400, 128), (2000, 128), (2000,)))
    parameters = tuple(one.requires_grad_() for one in (x, weight, bias))
    targets = torch.randint(2000, (400,), generator=draws)

    def added(bf16: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with_it, without = (linear_cross_entropy(*parameters, targets, z).total for z in (1e-4, 0.0))
        grads = zip(torch.autograd.grad(with_it, parameters), torch.autograd.grad(without, parameters), strict=True)
        return [a - b for a, b in grads]

    for mine, exact in zip(added(bf16=True), added(bf16=False), strict=True):
        assert float((mine - exact).norm()) < 0.05 * float(exact.norm())


def test_a_gradient_only_where_one_is_asked() -> None:
    x, weight, bias, targets = given(8)
    (alone,) = torch.autograd.grad(linear_cross_entropy(x, weight.detach(), bias.detach(), targets).total, x)
    (beside,) = torch.autograd.grad(linear_cross_entropy(x, weight, bias, targets).total, x)
    assert torch.equal(alone, beside)
    with torch.no_grad():
        assert not linear_cross_entropy(x, weight, bias, targets).total.requires_grad


def test_a_tie_counts_as_half() -> None:
    """Between the right token and another; one between two wrong ones is wrong."""
    bias = torch.tensor([2.0, 2.0, 0.0])
    said = linear_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 4), bias, torch.tensor([0, 1, 2]))
    assert said.right.tolist() == [0.5, 0.5, 0.0]
    assert said.correct == 1
