from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from bertwright.nn.heads import NormPooler, Pooler, Predictor


def test_the_pooler_is_a_dense_layer_and_tanh() -> None:
    pooler, x = Pooler(4), torch.randn(3, 4)
    torch.testing.assert_close(pooler(x), torch.tanh(pooler.dense(x)))


def test_the_predictor_multiplies_by_the_embeddings_and_owns_none() -> None:
    words = nn.Embedding(11, 4)
    predictor, x = Predictor(4, 11, 1e-12, F.gelu), torch.randn(5, 4)
    nn.init.normal_(predictor.bias)
    inner = F.layer_norm(F.gelu(predictor.dense(x)), (4,), predictor.norm.weight, predictor.norm.bias, 1e-12)
    logits = predictor(x, words.weight)
    torch.testing.assert_close(logits, inner @ words.weight.T + predictor.bias)
    assert {name: tuple(p.shape) for name, p in predictor.named_parameters()} == {
        "bias": (11,),
        "dense.weight": (4, 4),
        "dense.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
    }
    logits.sum().backward()
    assert words.weight.grad is not None


def test_the_predictor_hands_on_what_z_loss_adds_in_bf16() -> None:
    torch.manual_seed(0)
    predictor, x, words = Predictor(128, 2000, 1e-12, F.gelu), torch.randn(400, 128), torch.randn(2000, 128) * 0.1
    targets = torch.randint(2000, (400,))

    def added(bf16: bool) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            totals = [predictor.loss(x, words, targets, z_loss).total for z_loss in (1e-4, 0.0)]
        with_it, without = (torch.autograd.grad(total, predictor.norm.bias)[0] for total in totals)
        return with_it - without

    exact = added(bf16=False)
    assert float((added(bf16=True) - exact).norm()) < 0.05 * float(exact.norm())


def test_parts_without_biases() -> None:
    pooler, predictor = NormPooler(4, 1e-5, F.gelu), Predictor(4, 11, 1e-5, F.gelu, inner_biases=False)
    x = torch.randn(3, 4)
    torch.testing.assert_close(pooler(x), F.layer_norm(F.gelu(x @ pooler.dense.weight.T), (4,), eps=1e-5))
    assert [name for name, _ in pooler.named_parameters()] == ["dense.weight", "norm.weight"]
    assert [name for name, _ in predictor.named_parameters()] == ["bias", "dense.weight", "norm.weight"]
