"""Which parameters decay, and the optimizer's state as tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import corpus, feed, model, weights

from bertwright.errors import CheckpointError
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw, load_state_tensors, state_tensors


def after_steps(steps: int = 3) -> tuple[Model, torch.optim.Optimizer]:
    task = MaskedLM()
    whole = model(task)
    optimizer = adamw(whole, lr=1e-3, weight_decay=0.01)
    loop = Loop(whole, feed(task, corpus()), optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1)
    list(loop.steps(steps))
    return whole, optimizer


def test_biases_and_norms_do_not_decay() -> None:
    """With a gradient of zero, AdamW does nothing but decay."""
    whole = model(MaskedLM() + NextSentence())
    optimizer = adamw(whole, lr=0.1, weight_decay=0.5)
    before = weights(whole)
    for parameter in whole.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kept = set()
    for name, parameter in whole.named_parameters():
        if torch.equal(parameter, before[name]):
            kept.add(name)
        else:
            torch.testing.assert_close(parameter.detach(), before[name] * 0.95)
    spared = {n for n, _ in whole.named_parameters() if n.endswith("bias") or "norm" in n}
    assert kept == spared
    assert len(kept) == 28
    assert len(before) == 46


def test_the_first_step_is_adamws() -> None:
    """The rate times the sign of the gradient, for Adam's first step, and the decay."""
    whole = model(MaskedLM())
    before = weights(whole)
    optimizer = adamw(whole, lr=0.01, weight_decay=0.5)
    for parameter in whole.parameters():
        parameter.grad = torch.where(torch.arange(parameter.numel()).view_as(parameter) % 2 == 0, 3.0, -2.0)
    optimizer.step()
    for name, parameter in whole.named_parameters():
        assert parameter.grad is not None
        decayed = before[name] * (1 - 0.01 * 0.5 * (parameter.ndim > 1))
        torch.testing.assert_close(parameter.detach(), decayed - 0.01 * parameter.grad.sign(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trained", ["head", "encoder.norm", "encoder.words"])
def test_what_is_frozen_is_left_out(trained: str) -> None:
    whole = model(MaskedLM())
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    optimizer = adamw(whole, lr=0.1, weight_decay=0.1)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for name, parameter in whole.named_parameters() if name.startswith(trained)}
    assert all(group["params"] for group in optimizer.param_groups)


def test_the_state_goes_through_a_file_as_it_is(tmp_path: Path) -> None:
    whole, optimizer = after_steps()
    state = state_tensors(optimizer, whole)
    names = {name for name, _ in whole.named_parameters()}
    assert set(state) == {f"{name}/{part}" for name in names for part in ("step", "exp_avg", "exp_avg_sq")}
    save_file(state, tmp_path / "state")

    other = model(MaskedLM(), seed=5)
    fresh = adamw(other, lr=1e-3, weight_decay=0.01)
    load_state_tensors(fresh, other, load_file(tmp_path / "state"))
    again = state_tensors(fresh, other)
    assert again.keys() == state.keys()
    for key in state:
        assert torch.equal(again[key], state[key]), key
        assert again[key].dtype == state[key].dtype
    assert all(state[key].item() == 3 for key in state if key.endswith("/step"))


def test_a_fresh_optimizer_has_no_state() -> None:
    whole = model(MaskedLM())
    optimizer = adamw(whole, lr=1e-3, weight_decay=0.0)
    assert state_tensors(optimizer, whole) == {}
    assert len(optimizer.state) == 0


def test_state_of_another_model_is_refused() -> None:
    whole, optimizer = after_steps(1)
    state = state_tensors(optimizer, whole)
    other = model(NextSentence())
    with pytest.raises(CheckpointError, match=r"holds 'head\.[a-z.]+', which the model does not have"):
        load_state_tensors(adamw(other, lr=1e-3, weight_decay=0.0), other, state)
