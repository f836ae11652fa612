"""Optimizers that are torch's to their numbers, and do without its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bertwright.train.lean import AdamW

STEPS = """
import sys
import torch
from bertwright.train.lean import AdamW
from bertwright.train.muon import StackedMuon
from bertwright.train.rows import RowAdamW

table = torch.nn.Embedding(9, 4, sparse=True)
matrix = torch.nn.Linear(4, 4, bias=False)
parts = [
    AdamW([{"params": [("bias", torch.nn.Parameter(torch.ones(4)))]}], lr=0.1, fused=True),
    RowAdamW([{"params": [("table", table.weight)]}], lr=0.1, betas=(0.9, 0.999), eps=1e-8),
    StackedMuon([("matrix", matrix.weight)], {}, 0.1, 0.0),
]
bias = parts[0].param_groups[0]["params"][0]
(matrix(table(torch.tensor([1, 2]))) + bias).sum().backward()
for part in parts:
    part.step()
    part.zero_grad()
print("torch._dynamo" in sys.modules, bias.grad, matrix.weight.grad, bool((bias != 1).all()))
"""


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch(decay: float) -> None:
    draws = torch.Generator().manual_seed(0)
    start = torch.randn(7, 5, generator=draws)
    mine, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.01, "weight_decay": decay, "fused": True}
    pair = [(mine, AdamW([mine], **settings)), (other, torch.optim.AdamW([other], **settings))]
    for _ in range(5):
        pull = torch.randn(7, 5, generator=draws)
        for parameter, optimizer in pair:
            (parameter.square() * pull).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(mine, other)
    assert not torch.equal(mine, start)
    states = [optimizer.state_dict()["state"][0] for _, optimizer in pair]
    assert {name: value.tolist() for name, value in states[0].items()} == {
        name: value.tolist() for name, value in states[1].items()
    }


def test_steps_do_without_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "None", "None", "True"]
