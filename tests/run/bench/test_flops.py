"""The count of useful arithmetic, against the matrices of transformers' own models."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM

from bertwright.encoders.base import Encoder
from bertwright.run.bench.flops import flops_per_token


def matrices(encoder: Encoder) -> dict[str, int]:
    """The sizes of all matrices that transformers' masked-LM model of that config multiplies by."""
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(encoder.config)
    return {name: part.weight.numel() for name, part in model.named_modules() if isinstance(part, nn.Linear)}


@pytest.mark.parametrize("arch", ["bert", "modern"])
@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_it_is_six_a_weight_and_token(arch: str, size: str) -> None:
    encoder = Encoder.from_config(size, vocab_size=1000, arch=arch)
    sizes = matrices(encoder)
    layers = sum(count for name, count in sizes.items() if ".layer" in name)
    assert flops_per_token(encoder, 1.0) == 6 * sum(sizes.values())
    assert flops_per_token(encoder, 0.0) == 6 * layers
    assert flops_per_token(encoder, 0.25) == 6 * layers + 6 * 0.25 * (sum(sizes.values()) - layers)


def test_for_bert_it_is_the_formula() -> None:
    encoder = Encoder.from_config("mini", vocab_size=8192)
    layers, width, share = 4, 256, 0.15
    formula = 6 * (12 * layers * width**2 + share * (width**2 + width * 8192))
    assert flops_per_token(encoder, share) == pytest.approx(formula)
