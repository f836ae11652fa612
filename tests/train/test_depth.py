"""What a layer's depth decides: its rate, and when it begins to train."""

from __future__ import annotations

import pytest
import torch
from samples import batch_of, corpus, examples, model, vocabulary, weights

from bertwright.run.start import freeze
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.depth import Thaw, depth, rates
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw, alike, muon

PARTS = ("head.", "encoder.layers.1.", "encoder.layers.0.", "encoder.")


@pytest.fixture
def whole() -> Model:
    return model(MaskedLM())


def part_of(name: str) -> int:
    return next(at for at, start in enumerate(PARTS) if name.startswith(start))


def trains(whole: Model) -> set[int]:
    """The parts that train; each does as a whole or not at all."""
    found = {part: {p.requires_grad for n, p in whole.named_parameters() if part_of(n) == part} for part in range(4)}
    assert all(len(kinds) == 1 for kinds in found.values())
    return {part for part, kinds in found.items() if kinds == {True}}


def test_depth_counts_down_from_the_head(whole: Model) -> None:
    assert {depth(name, 2) - part_of(name) for name, _ in whole.named_parameters()} == {0}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_rate_decays_with_depth(whole: Model, kind: str) -> None:
    share = rates(whole, 0.5)
    if kind == "adamw":
        optimizer = adamw(whole, lr=0.1, weight_decay=0.5, rates=share)
    else:
        optimizer = muon(whole, lr=0.1, matrix_lr=0.4, weight_decay=0.5, rates=share)
    peaks = {
        name: (group["lr"], group["weight_decay"], p.ndim)
        for group in optimizer.param_groups
        for name, p in zip(group["param_names"], group["params"], strict=True)
    }
    assert peaks.keys() == {name for name, _ in whole.named_parameters()}
    for name, (lr, decay, ndim) in peaks.items():
        of_muon = kind == "muon" and ndim == 2 and part_of(name) in (1, 2)
        assert lr == (0.4 if of_muon else 0.1) * 0.5 ** part_of(name)
        assert decay == 0.5 * (ndim > 1)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_decayed_rate_moves_less(whole: Model) -> None:
    """AdamW's first step is the rate times the sign of the gradient."""
    before = weights(whole)
    optimizer = adamw(whole, lr=0.01, weight_decay=0.0, rates=rates(whole, 0.5))
    for parameter in whole.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in whole.named_parameters():
        moved = before[name] - parameter.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.01 * 0.5 ** part_of(name)), rtol=1e-3, atol=1e-6)


def test_a_decay_of_1_is_the_plain_optimizer(whole: Model) -> None:
    groups = [
        [group["param_names"] for group in adamw(whole, lr=1.0, weight_decay=0.1, rates=which).param_groups]
        for which in (alike, rates(whole, 1.0))
    ]
    assert groups[0] == groups[1]
    assert len(groups[0]) == 2


def test_layers_thaw_from_the_last_in_equal_stages(whole: Model) -> None:
    thaw = Thaw(whole, 8)
    reached = []
    for step in range(10):
        thaw(step)
        reached.append(len(trains(whole)))
        assert trains(whole) == set(range(reached[-1]))
    assert reached == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("span", [0, 1, 2, 3, 5, 100])
def test_everything_trains_after_the_span(whole: Model, span: int) -> None:
    thaw = Thaw(whole, span)
    for step in (0, span // 2, span, 5 * span, 0):
        thaw(step)
        assert (len(trains(whole)) == 4) == (step >= span or thaw.reach(step) == 3)
    thaw(span)
    assert trains(whole) == {0, 1, 2, 3}


def test_without_a_head_the_last_layer_begins(whole: Model) -> None:
    whole.head.requires_grad_(False)
    whole.encoder.word_embeddings.requires_grad_(True)  # They were the head's too.
    thaw = Thaw(whole, 9)
    reached = []
    for step in (0, 2, 3, 5, 6, 9):
        thaw(step)
        reached.append(max(trains(whole)))
    assert reached == [1, 1, 2, 2, 3, 3]


def test_what_is_frozen_stays_so(whole: Model) -> None:
    freeze(whole.encoder, "1")
    thaw = Thaw(whole, 4)
    thaw(0)
    assert trains(whole) == {0}
    thaw(100)
    assert trains(whole) == {0, 1}


def test_what_has_not_thawed_is_not_moved(whole: Model) -> None:
    task, own = MaskedLM(), vocabulary()
    batch = batch_of(task, examples(task, corpus())[:4], own, 1)
    thaw, before = Thaw(whole, 4), weights(whole)
    optimizer = adamw(whole, lr=1e-2, weight_decay=0.1)
    loop = Loop(whole, lambda step: [batch], optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1)
    thaw(0)
    for step in loop.steps(4):
        thaw(step.number)
        moved = {part_of(n) for n, p in whole.named_parameters() if not torch.equal(p, before[n])}
        # The word embeddings are the masked LM's output too; frozen, they stay.
        assert moved == set(range(step.number))


def test_a_table_that_is_only_looked_up_has_the_rate_of_its_depth() -> None:
    whole = model(NextSentence())
    groups = adamw(whole, lr=0.1, weight_decay=0.5, rates=rates(whole, 0.5)).param_groups
    assert [group["lr"] for group in groups if group["param_names"] == ["encoder.words.weight"]] == [0.1 * 0.5**3]
