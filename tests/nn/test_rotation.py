from __future__ import annotations

import torch

from bertwright.nn.rotation import Rotation

POSITIONS = torch.tensor([0, 1, 2, 0, 7, 30])


def test_pairs_turn_as_complex_numbers() -> None:
    x = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0))
    turned = Rotation.of(POSITIONS, longest=31, width=8, theta=100.0)(x)
    speeds = 100.0 ** -torch.tensor([0.0, 0.25, 0.5, 0.75])
    unit = torch.polar(torch.ones(6, 4), POSITIONS[:, None] * speeds)[:, None]
    want = torch.complex(x[..., :4], x[..., 4:]) * unit
    torch.testing.assert_close(turned, torch.cat((want.real, want.imag), -1))
    assert torch.equal(turned[0], x[0])


def test_products_depend_on_the_distance_alone() -> None:
    q, k = (torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    table = Rotation.of(torch.arange(200), longest=200, width=16, theta=10_000.0)

    def product(i: int, j: int) -> torch.Tensor:
        return (table.at(torch.tensor([i]))(q) * table.at(torch.tensor([j]))(k)).sum()

    torch.testing.assert_close(product(3, 10), product(150, 157), rtol=1e-4, atol=1e-4)
    assert abs(float(product(3, 10) - product(10, 3))) > 0.1


def test_the_gradient_also_of_what_is_not_contiguous() -> None:
    rotation = Rotation.of(POSITIONS, longest=31, width=4, theta=10.0)
    x = torch.randn(6, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    assert torch.autograd.gradcheck(rotation, (x.requires_grad_(),))
    assert torch.autograd.gradgradcheck(rotation, (x,))


def test_the_type_of_the_numbers_stays() -> None:
    rotation = Rotation.of(POSITIONS, longest=31, width=4, theta=10.0)
    x = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    assert rotation(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(rotation(x.bfloat16()).float(), rotation(x), rtol=0.02, atol=0.02)
