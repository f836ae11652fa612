"""Attention that torch's compiler has rewritten beside the same as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bertwright.flow import Batch
from bertwright.nn.attention import Layout, attention
from bertwright.train.compiling import missing

MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore")  # Of what the compiler itself uses.
@pytest.mark.skipif(bool(missing(CPU)), reason="needs a C++ compiler")
def test_compiled_attention_does_what_is_written(
    make_batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries, keys and values lie side by side as written, and wherever the compiler likes once compiled."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    layout = Layout.of(make_batch((9, 4, 7)))
    draws = torch.Generator().manual_seed(0)
    x, weight = torch.randn(20, 8, generator=draws), torch.randn(8, 24, generator=draws).requires_grad_()
    pull = torch.randn(20, 2, 4, generator=draws)

    def attended(x: Tensor, weight: Tensor) -> Tensor:
        return attention(*(part.unflatten(1, (2, -1)) for part in (x @ weight).sin().chunk(3, 1)), layout, 0.0)

    def gives(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        found = function(x, weight)
        return found.detach(), torch.autograd.grad((found * pull).sum(), weight)[0]

    for mine, other in zip(gives(torch.compile(attended, dynamic=False)), gives(attended), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
