"""The running average of the weights: its value, and that it is judged without touching what trains."""

from __future__ import annotations

import pytest
import torch
from samples import corpus, feed, model, weights

from bertwright.tasks.mlm import MaskedLM
from bertwright.train.average import Average
from bertwright.train.loop import Loop, measure
from bertwright.train.optim import adamw


def loop_with(decay: float | None) -> Loop:
    whole = model(MaskedLM(), dropout=0.1)
    average = None if decay is None else Average(whole, decay)
    return Loop(
        whole,
        feed(whole.task, corpus()),
        adamw(whole, lr=1e-2, weight_decay=0.01),
        lambda step: 1.0,
        clip=1.0,
        precision="fp32",
        seed=1,
        average=average,
    )


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_the_exponential_average_of_the_weights(decay: float) -> None:
    loop = loop_with(decay)
    expected = {name: value.double() for name, value in weights(loop.model).items()}
    for step in loop.steps(12):
        keep = min(decay, step.number / (step.number + 9))
        for name, value in weights(loop.model).items():
            expected[name] = keep * expected[name] + (1 - keep) * value.double()
    with loop.judged():
        found = weights(loop.model)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name].float(), rtol=1e-5, atol=1e-6, msg=name)
    assert any(not torch.equal(found[name], value) for name, value in weights(loop.model).items())


def test_training_does_not_notice_it() -> None:
    with_it, without = loop_with(0.9), loop_with(None)
    for _ in with_it.steps(4):
        with with_it.judged():
            measure(with_it.model, with_it.feed(0), "fp32")
    list(without.steps(4))
    mine, theirs = weights(with_it.model), weights(without.model)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with without.judged():
        assert all(torch.equal(value, theirs[name]) for name, value in weights(without.model).items())


def test_the_weights_come_back_after_an_error() -> None:
    loop = loop_with(0.9)
    list(loop.steps(2))
    before = weights(loop.model)
    with pytest.raises(ZeroDivisionError), loop.judged():
        raise ZeroDivisionError
    assert all(torch.equal(value, before[name]) for name, value in weights(loop.model).items())


def test_what_is_frozen_is_left_out() -> None:
    whole = model(MaskedLM())
    whole.encoder.requires_grad_(False)
    assert all(name.startswith("head.") for name in Average(whole, 0.9).raw())


def test_both_weights_are_restored() -> None:
    loop, fresh = loop_with(0.9), loop_with(0.9)
    list(loop.steps(3))
    assert loop.average is not None
    assert fresh.average is not None
    raw = {name: value.clone() for name, value in loop.average.raw().items()}
    with loop.judged():
        fresh.model.load_state_dict(loop.model.state_dict())
        average = weights(loop.model)
    fresh.average.restore(raw)
    assert all(torch.equal(value, raw[name]) for name, value in weights(fresh.model).items())
    with fresh.judged():
        assert all(torch.equal(value, average[name]) for name, value in weights(fresh.model).items())
