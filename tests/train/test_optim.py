"""Which parameters decay, and the optimizer's state as tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import corpus, feed, model, weights

from bertwright.encoders.base import Encoder
from bertwright.errors import CheckpointError, RecipeError
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.loop import Loop
from bertwright.train.muon import orthogonalised
from bertwright.train.optim import Several, adamw, load_state_tensors, muon, optimizer, state_tensors
from bertwright.train.precision import bf16_is_fast


def after_steps(steps: int = 3) -> tuple[Model, Several]:
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
    state = state_tensors(optimizer)
    names = {name for name, _ in whole.named_parameters()}
    assert set(state) == {f"{name}/{part}" for name in names for part in ("step", "exp_avg", "exp_avg_sq")}
    save_file(state, tmp_path / "state")

    other = model(MaskedLM(), seed=5)
    fresh = adamw(other, lr=1e-3, weight_decay=0.01)
    load_state_tensors(fresh, load_file(tmp_path / "state"))
    again = state_tensors(fresh)
    assert again.keys() == state.keys()
    for key in state:
        assert torch.equal(again[key], state[key]), key
        assert again[key].dtype == state[key].dtype
    assert all(state[key].item() == 3 for key in state if key.endswith("/step"))


def test_a_fresh_optimizer_has_no_state() -> None:
    whole = model(MaskedLM())
    optimizer = adamw(whole, lr=1e-3, weight_decay=0.0)
    assert state_tensors(optimizer) == {}


def test_state_of_another_model_is_refused() -> None:
    _, optimizer = after_steps(1)
    state = state_tensors(optimizer)
    other = model(NextSentence())
    with pytest.raises(CheckpointError, match=r"holds 'head\.[a-z.]+', which the model does not have"):
        load_state_tensors(adamw(other, lr=1e-3, weight_decay=0.0), state)


def with_gradients(whole: Model, step: int) -> None:
    for number, parameter in enumerate(whole.parameters()):
        draw = torch.Generator().manual_seed(1000 * step + number)
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def is_hidden(name: str, parameter: torch.Tensor) -> bool:
    return name.startswith("encoder.layers.") and parameter.ndim == 2


def assert_as_torchs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """After four steps at 0.05: bit for bit where the hardware has bf16; elsewhere torch's is rounded, each by 0.02."""
    if bf16_is_fast(torch.device("cpu")):
        assert torch.equal(ours, theirs)
    else:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=4 * 0.05 * 0.02)


def test_muon_is_torchs_on_hidden_matrices_and_adamw_on_the_rest() -> None:
    whole, twin = (model(MaskedLM() + NextSentence()) for _ in range(2))
    ours = muon(whole, lr=1e-2, matrix_lr=0.05, weight_decay=0.1)
    named = list(twin.named_parameters())
    decaying = [p for name, p in named if not is_hidden(name, p) and p.ndim > 1]
    theirs = [
        torch.optim.Muon([p for name, p in named if is_hidden(name, p)], lr=0.05, weight_decay=0.1),
        torch.optim.AdamW(decaying, lr=1e-2, weight_decay=0.1, fused=True),
        torch.optim.AdamW([p for _, p in named if p.ndim < 2], lr=1e-2, weight_decay=0.0, fused=True),
    ]
    before = weights(whole)
    for step in range(4):
        with_gradients(whole, step)
        with_gradients(twin, step)
        for one in (ours, *theirs):
            one.step()
            one.zero_grad()
    for name, parameter in whole.named_parameters():
        if is_hidden(name, parameter):
            assert_as_torchs(parameter, twin.get_parameter(name))
        else:
            assert torch.equal(parameter, twin.get_parameter(name)), name
        assert not torch.equal(parameter, before[name])
        assert parameter.grad is None
    hidden = {name for name in before if is_hidden(name, before[name])}
    assert len(hidden) == 12
    assert {key.partition("/")[0] for key in state_tensors(ours) if key.endswith("/momentum_buffer")} == hidden


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16), (1, 8)])
def test_singular_values_go_where_the_polynomial_takes_them(shape: tuple[int, int]) -> None:
    """Five times 3.4445 s - 4.775 s^3 + 2.0315 s^5 of each, begun from a norm of 1; the directions stay."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonalised(matrix)
    tolerance = 0.05 if found.dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found.double(), left @ values.diag() @ right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_matrices_together_are_as_each_alone(shape: tuple[int, int]) -> None:
    """In bf16 to its rounding at the size of what comes out, where products of batches round otherwise."""
    matrices = torch.randn(5, *shape, generator=torch.Generator().manual_seed(4)) * torch.tensor(
        [1e-6, 0.1, 1.0, 30.0, 0.0]
    ).view(-1, 1, 1)
    together = orthogonalised(matrices)
    alone = torch.stack([orthogonalised(matrix) for matrix in matrices])
    tolerance = 0.02 if together.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(together, alone, rtol=0, atol=tolerance)


def test_stacked_matrices_are_updated_one_by_one() -> None:
    """ModernBERT's queries, keys and values, and its input and gate, as if they were parameters of their own."""
    encoder = Encoder.from_config("tiny", vocab_size=60, arch="modern", seed=1)
    whole = Model(encoder, MaskedLM())
    encoder.draw_head(whole.head, 1, "paper")
    parts = {"query_key_value": 3, "input_and_gate": 2, "attention_output": 1}
    names = [f"encoder.layers.0.{part}.weight" for part in parts]
    alone = {
        (name, index): piece.detach().clone()
        for name, number in zip(names, parts.values(), strict=True)
        for index, piece in enumerate(whole.get_parameter(name).chunk(number))
    }
    theirs = torch.optim.Muon(alone.values(), lr=0.05, weight_decay=0.1)
    ours = muon(whole, lr=1e-2, matrix_lr=0.05, weight_decay=0.1)
    for step in range(3):
        with_gradients(whole, step)
        for (name, index), piece in alone.items():
            piece.grad = whole.get_parameter(name).grad.chunk(parts[name.split(".")[3]])[index]
        ours.step()
        theirs.step()
    for name, number in zip(names, parts.values(), strict=True):
        expected = torch.cat([alone[name, index] for index in range(number)])
        assert_as_torchs(whole.get_parameter(name), expected)
    buffers = {key for key in state_tensors(ours) if key.startswith("encoder.layers.0.query_key_value.weight")}
    assert buffers == {f"encoder.layers.0.query_key_value.weight[{index}]/momentum_buffer" for index in range(3)}


def test_each_group_has_its_own_peak() -> None:
    task = MaskedLM()
    whole = model(task)
    ours = muon(whole, lr=1e-3, matrix_lr=0.02, weight_decay=0.0)
    loop = Loop(whole, feed(task, corpus()), ours, lambda step: 1 / (step + 1), clip=1.0, precision="fp32", seed=1)
    steps = list(loop.steps(2))
    assert [step.lr for step in steps] == [1e-3, 5e-4]
    assert [group["lr"] for group in ours.param_groups] == [5e-4, 5e-4, 0.01]


def test_muons_state_goes_through_a_file_as_it_is(tmp_path: Path) -> None:
    """Four steps in one piece, and two after two in fresh objects."""
    task = MaskedLM()

    def run(whole: Model, optimizer: Several, begin: int, end: int) -> None:
        loop = Loop(whole, feed(task, corpus()), optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1)
        loop.step = begin
        list(loop.steps(end))

    def fresh(seed: int) -> tuple[Model, Several]:
        whole = model(task, dropout=0.1, seed=seed)
        return whole, muon(whole, lr=1e-3, matrix_lr=0.02, weight_decay=0.01)

    unbroken, optimizer = fresh(1)
    run(unbroken, optimizer, 0, 4)
    first, optimizer = fresh(1)
    run(first, optimizer, 0, 2)
    save_file(state_tensors(optimizer), tmp_path / "state")
    second, optimizer = fresh(2)
    second.load_state_dict(first.state_dict())
    load_state_tensors(optimizer, load_file(tmp_path / "state"))
    run(second, optimizer, 2, 4)
    for name, parameter in second.named_parameters():
        assert torch.equal(parameter, unbroken.get_parameter(name)), name


@pytest.mark.parametrize("trained", ["head", "encoder.layers"])
def test_muon_takes_what_trains(trained: str) -> None:
    whole = model(MaskedLM())
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(name.startswith(trained))
    optimizer = muon(whole, lr=0.1, matrix_lr=0.1, weight_decay=0.1)
    held = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(held) == sorted(name for name, _ in whole.named_parameters() if name.startswith(trained))


def test_an_unknown_optimizer_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="unknown optimizer 'lamb'; known are adamw, muon"):
        optimizer("lamb", model(MaskedLM()), lr=1e-3, matrix_lr=0.02, weight_decay=0.0)
