"""The estimate of memory against what a step really keeps: parameters, states, and tensors saved for gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from samples import batch_of, corpus, examples, vocabulary
from torch import Tensor

from bertwright.encoders.base import Encoder
from bertwright.encoders.bert import Bert
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.footprint import Pass, footprint
from bertwright.train.optim import optimizer, state_tensors
from bertwright.train.precision import products_in

CPU = torch.device("cpu")
LENGTH = 64


def made(arch: str) -> Model:
    encoder = Encoder.from_config("tiny", vocab_size=2048, arch=arch)
    model = Model(encoder, MaskedLM())
    encoder.draw_head(model.head, 1, "paper")
    return model


def one_pass(**changes: Any) -> Pass:
    given = {"tokens": 2048, "length": LENGTH, "read": 0.15, "labelled": 0.15, "precision": "fp32", "dropout": 0.0}
    return Pass(**given | {"device": CPU} | changes)


@pytest.mark.parametrize("arch", ["bert", "modern"])
@pytest.mark.parametrize(("precision", "dropout"), [("fp32", 0.0), ("bf16", 0.0), ("fp32", 0.1)])
def test_what_a_pass_keeps(arch: str, precision: str, dropout: float) -> None:
    """Within a fifth of what autograd holds when the forward pass is done, the weights themselves not counted."""
    model = made(arch)
    model.set_dropout(dropout)
    items = corpus([[40] * 40] * 40, LENGTH, 2048)
    group = [example for example in examples(MaskedLM(), items) if len(example) == LENGTH][:64]
    batch = batch_of(MaskedLM(), group, vocabulary(2048), 1)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, int] = {}

    def hold(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x), products_in(precision, CPU):
        model(batch)
    assert batch.reads is not None
    shares = {"read": len(batch.reads) / batch.tokens, "labelled": batch.counts["mlm"] / batch.tokens}
    one = one_pass(tokens=batch.tokens, precision=precision, dropout=dropout, **shares)
    said = footprint(model, one, optimizer="adamw", average=False)
    back = 2 * one.tokens * one.length * model.encoder.config.num_attention_heads * one.width
    kept = said.activations + said.scores - back + said.logits + said.copies
    assert kept == pytest.approx(sum(held.values()), rel=0.2)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_weights_and_states(kind: str) -> None:
    model = made("bert")
    own = optimizer(kind, model, lr=1e-3, matrix_lr=0.02, weight_decay=0.0)
    batch = batch_of(MaskedLM(), examples(MaskedLM(), corpus(size=2048))[:4], vocabulary(2048), 1)
    model(batch).totals["mlm"].backward()
    own.step()
    said = footprint(model, one_pass(), optimizer=kind, average=True)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert (said.weights, said.gradients, said.average) == (size, size, size)
    assert said.optimizer == pytest.approx(sum(x.nbytes for x in state_tensors(own).values()), rel=1e-3)


def test_what_is_frozen_has_no_gradient() -> None:
    model = made("bert")
    model.encoder.requires_grad_(False)
    said = footprint(model, one_pass(), optimizer="adamw", average=True)
    head = 4 * sum(p.numel() for p in model.head.parameters())
    assert (said.gradients, said.average, said.activations) == (head, head, 0)


def test_on_the_meta_device_it_is_the_same() -> None:
    model = made("bert")
    with torch.device("meta"):
        shape = Model(Bert(model.encoder.config), MaskedLM())
    there, here = (footprint(one, one_pass(), optimizer="adamw", average=False) for one in (shape, model))
    assert there == here


def test_tokens_cost_activations_and_nothing_else() -> None:
    model, one = made("bert"), one_pass()
    half, whole = (
        footprint(model, replace(one, tokens=tokens), optimizer="adamw", average=False) for tokens in (1024, 2048)
    )
    for name in ("weights", "gradients", "optimizer", "copies"):
        assert getattr(half, name) == getattr(whole, name)
    for name in ("activations", "scores", "logits"):
        assert 2 * getattr(half, name) == pytest.approx(getattr(whole, name), rel=0.01)
    assert half.total < whole.total
