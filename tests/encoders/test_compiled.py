"""Layers that torch's compiler has rewritten beside the same as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bertwright.encoders.base import Encoder
from bertwright.flow import Batch
from bertwright.train.compiling import compile_each, missing

MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore")  # Of what the compiler itself uses.
@pytest.mark.skipif(bool(missing(CPU)), reason="needs a C++ compiler")
def test_a_compiled_layer_does_what_is_written(
    make_batch: MakeBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries, keys and values lie side by side as written, and wherever the compiler likes once compiled."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    encoder = Encoder.from_config(
        "tiny", arch="modern", vocab_size=64, seed=1, num_hidden_layers=1, layer_types=["full_attention"]
    )
    encoder.set_dropout(0.0)
    batch = make_batch((9, 4, 7))

    def gives() -> list[torch.Tensor]:
        encoder.zero_grad()
        hidden = encoder(batch)
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        return [hidden.detach(), *(p.grad.clone() for p in encoder.parameters() if p.grad is not None)]

    written = gives()
    compile_each(encoder.layers)
    compiled = gives()
    assert len(written) == len(compiled) > 6
    for mine, other in zip(compiled, written, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
