"""AdamW of rows: the numbers of AdamW of the whole table, whichever rows are read when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from samples import corpus, feed, model
from torch import Tensor, nn

from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.loop import Loop, Step
from bertwright.train.optim import load_state_tensors, optimizer, state_tensors
from bertwright.train.rows import RowAdamW

ROWS, WIDTH = 12, 16
ADAM = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}


def table() -> nn.Parameter:
    return nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1)))


def gradient(read: list[int], step: int) -> Tensor:
    """Sparse, with a row's parts still apart where it was read more than once."""
    values = torch.randn(len(read), WIDTH, generator=torch.Generator().manual_seed(step))
    return torch.sparse_coo_tensor(torch.tensor([read], dtype=torch.long), values, (ROWS, WIDTH), check_invariants=True)


@given(
    reads=st.lists(st.lists(st.integers(0, ROWS - 1), max_size=8), min_size=1, max_size=8),
    decay=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_every_row_goes_where_adamw_takes_it(reads: list[list[int]], decay: float) -> None:
    ours, theirs = table(), table()
    rows = RowAdamW([ours], **ADAM, weight_decay=decay)
    whole = torch.optim.AdamW([theirs], **ADAM, weight_decay=decay, fused=True)
    for step, read in enumerate(reads):
        ours.grad = gradient(read, step)
        theirs.grad = ours.grad.to_dense()
        for one in (rows, whole):
            one.param_groups[0]["lr"] = 0.01 / (step + 1)
            one.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-6, atol=1e-7)
    assert sorted(rows.state[ours]["rows"].tolist()) == sorted({row for read in reads for row in read})


def test_a_gradient_of_the_whole_table() -> None:
    """As a head of one's own has it that reads all words."""
    ours, theirs = table(), table()
    rows = RowAdamW([ours], **ADAM, weight_decay=0.1)
    whole = torch.optim.AdamW([theirs], **ADAM, weight_decay=0.1, fused=True)
    for step in range(3):
        dense = gradient([*range(step, ROWS)], step).to_dense()
        ours.grad, theirs.grad = dense, dense.clone()
        rows.step()
        whole.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-6, atol=1e-7)


def test_a_table_without_a_gradient_stays() -> None:
    ours = table()
    RowAdamW([ours], **ADAM, weight_decay=0.5).step()
    assert torch.equal(ours, table())


Trained = tuple[list[Step], dict[str, Tensor]]


def trained(whole: Model, until: int, begin: int = 0, state: Path | None = None) -> Trained:
    own = optimizer("adamw", whole, lr=1e-2, matrix_lr=0.0, weight_decay=0.1)
    if state:
        load_state_tensors(own, load_file(state))
    loop = Loop(whole, feed(NextSentence(), corpus()), own, lambda step: 1.0, clip=0.5, precision="fp32", seed=1)
    loop.step = begin
    return list(loop.steps(until)), state_tensors(own)


def densely(whole: Model, until: int) -> list[Step]:
    """As `trained`, but the table is one parameter of torch's AdamW like any other."""
    matrices = [p for p in whole.parameters() if p.ndim > 1]
    rest = [p for p in whole.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    own = torch.optim.AdamW(groups, lr=1e-2, fused=True)
    loop = Loop(whole, feed(NextSentence(), corpus()), own, lambda step: 1.0, clip=0.5, precision="fp32", seed=1)
    return list(loop.steps(until))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_model_trains_as_with_the_whole_table(dropout: float) -> None:
    ours, theirs = model(NextSentence(), dropout=dropout), model(NextSentence(), dropout=dropout)
    before = ours.encoder.word_embeddings.weight.detach().clone()
    steps, state = trained(ours, 5)
    expected = densely(theirs, 5)
    assert [step.grad_norm for step in steps] == pytest.approx([step.grad_norm for step in expected], rel=1e-4)
    assert any(step.grad_norm > 0.5 for step in steps), "nothing was clipped"
    for name, parameter in ours.named_parameters():
        # Softmax does not see keys' biases: their gradient is rounding, of which Adam makes whole steps.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(parameter, theirs.get_parameter(name), rtol=1e-4, atol=1e-5)
    met = state["encoder.words.weight/rows"]
    unmet = [row for row in range(len(before)) if row not in met.tolist()]
    assert unmet, "every row was read"
    decayed = before[unmet] * (1 - 1e-2 * 0.1) ** 5
    torch.testing.assert_close(ours.encoder.word_embeddings.weight.detach()[unmet], decayed)


def test_two_steps_and_two_more_are_four(tmp_path: Path) -> None:
    unbroken = model(NextSentence())
    trained(unbroken, 4)
    first, second = model(NextSentence()), model(NextSentence(), seed=2)
    save_file(trained(first, 2)[1], tmp_path / "state")
    second.load_state_dict(first.state_dict())
    trained(second, 4, begin=2, state=tmp_path / "state")
    for name, parameter in unbroken.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
