from __future__ import annotations

import pytest
import torch

from bertwright.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_scale_and_gradient(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.full((400, 501), 2.0, dtype=dtype, requires_grad=True)
    y = dropout(x, p)
    y.float().sum().backward()
    kept = y != 0
    share = float(kept.float().mean())
    assert abs(share - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert torch.equal(y[kept].unique(), torch.tensor([2 / (1 - p)]).to(dtype))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (kept / (1 - p)).to(dtype))


def test_what_is_dropped_follows_the_seed() -> None:
    x = torch.ones(64, 3)
    torch.manual_seed(7)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(7)
    assert torch.equal(dropout(x, 0.5), first)
    assert torch.equal(dropout(x, 0.5), second)
    assert not torch.equal(first, second)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(200_000), 0.5) != 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8, 256):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 0.25 * 5 / 200_000**0.5


def test_a_view_that_is_not_contiguous() -> None:
    torch.manual_seed(0)
    x = torch.arange(1.0, 13.0).view(3, 4).T
    y = dropout(x, 0.5)
    assert torch.equal(y[y != 0], 2 * x[y != 0])
    assert y.shape == (4, 3)


def test_the_second_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)

    def dropped(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return dropout(x, 0.3)

    assert torch.autograd.gradgradcheck(dropped, (x,))


def test_nothing_is_dropped_outside_training() -> None:
    part, x = Dropout(0.9), torch.randn(100)
    assert not torch.equal(part(x), x)
    assert part.eval()(x) is x
    assert Dropout().train()(x) is x
    assert part.active == 0
    assert "p=0.9" in repr(part)
