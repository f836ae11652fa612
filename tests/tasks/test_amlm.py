"""Adaptive masked LM: masks go where tokens are hard, and hang on nothing but the state and the example's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from samples import batch_of, corpus, examples, feed, model, speech, tokenizer, vocabulary

from bertwright.data.pack import pack
from bertwright.errors import RecipeError
from bertwright.flow import Batch, Example
from bertwright.seeds import Draws
from bertwright.tasks.amlm import AdaptiveMaskedLM
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.loop import Loop, Step
from bertwright.train.optim import adamw

OWN = vocabulary()


def made(number: int = 12) -> list[Example]:
    return examples(MaskedLM(), corpus())[:number]


def same(one: Batch, other: Batch, name: str = "amlm") -> bool:
    kinds = [(one.ids, other.ids), *zip(one.labels["amlm"], other.labels[name], strict=True)]
    return all(torch.equal(a, b) for a, b in kinds)


def weighing(task: AdaptiveMaskedLM, weights: dict[int, float], size: int = 60) -> Model:
    """A model whose state says so."""
    whole = model(task, size)
    for token, weight in weights.items():
        whole.head.get_buffer("weights")[token] = weight
    return whole


def trained(whole: Model, batches: Callable[[int], list[Batch]], steps: int) -> list[Step]:
    optimizer = adamw(whole, lr=3e-3, weight_decay=0.0)
    return list(Loop(whole, batches, optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1).steps(steps))


@pytest.mark.parametrize("rates", [{}, {"rate": 0.4}, {"mask": 0.5, "random": 0.5}])
def test_while_all_types_weigh_the_same_masks_are_those_of_masked_lm(rates: dict[str, Any]) -> None:
    task = AdaptiveMaskedLM(**rates)
    batch, plain = batch_of(task, made(), OWN, 1), batch_of(MaskedLM(**rates), made(), OWN, 1)
    assert same(batch, plain, "mlm")
    decided = task.decided(model(task).head, batch)
    assert same(decided, plain, "mlm")
    assert decided.reads is not None
    assert batch.reads is not None
    assert torch.equal(decided.reads, batch.reads)


@pytest.mark.parametrize("number", range(7))
def test_hard_types_are_hidden_first_in_every_language(number: int) -> None:
    words, task = tokenizer().vocabulary, AdaptiveMaskedLM(mask=1.0, random=0.0)
    group = examples(task, speech(64)[number : number + 1])
    whole_batch = pack(group, words)
    hard = np.unique(whole_batch.ids.numpy()[~np.isin(whole_batch.ids.numpy(), words.special)])[::3]
    whole = weighing(task, dict.fromkeys(hard.tolist(), 1e12), words.size)
    batch = task.label(whole_batch, group, Draws(1))
    decided = task.decided(whole.head, batch)
    positions, values = decided.labels["amlm"]
    assert decided.counts == batch.counts
    assert torch.equal(values, whole_batch.ids[positions])
    assert (decided.ids[positions] == words.mask).all()
    expected = min(len(positions), int(np.isin(whole_batch.ids.numpy(), hard).sum()))
    assert int(np.isin(values.numpy(), hard).sum()) == expected
    untouched = torch.ones(decided.tokens, dtype=torch.bool).index_fill_(0, positions, False)
    assert torch.equal(decided.ids[untouched], whole_batch.ids[untouched])


def test_tokens_are_drawn_in_proportion_to_their_weights() -> None:
    """One of four tokens in 20,000 sequences: within five standard deviations of 1/10, 2/10, 3/10 and 4/10."""
    task = AdaptiveMaskedLM(rate=0.1)
    whole = weighing(task, {10: 0.1, 11: 0.2, 12: 0.3, 13: 0.4})
    group = [replace(OWN.single(np.array([10, 11, 12, 13])), key=key) for key in range(20_000)]
    values = task.decided(whole.head, batch_of(task, group, OWN, 1)).labels["amlm"].values
    shares = torch.bincount(values, minlength=14)[10:] / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), rtol=0, atol=0.018)


def test_what_is_decided_does_not_depend_on_the_company() -> None:
    task, group = AdaptiveMaskedLM(), made()
    whole = model(task)
    whole.head.get_buffer("weights")[:] = torch.linspace(0.03, 1, 60, dtype=torch.float64)
    together = task.decided(whole.head, batch_of(task, group, OWN, 1))
    alone = [task.decided(whole.head, batch_of(task, [example], OWN, 1)) for example in group]
    assert torch.equal(together.ids, torch.cat([one.ids for one in alone]))
    assert not torch.equal(together.ids, batch_of(task, group, OWN, 1).ids)
    assert not torch.isin(together.labels["amlm"].values, torch.tensor(OWN.special)).any()


def test_weights_follow_the_formula() -> None:
    task = AdaptiveMaskedLM(every=3, memory=0.2)
    head = model(task).head
    zeros = torch.zeros(60, dtype=torch.float64)
    right, targets = zeros.clone(), zeros.clone()
    right[7], targets[7], targets[8] = 2, 4, 5
    for step in range(1, 7):
        task.learned(head, {"amlm.right": right, "amlm.targets": targets})
        weights = head.get_buffer("weights")
        once = {7: 0.2 + 0.8 * (1 - 6.5 / 13), 8: 0.2 + 0.8 * (1 - 0.5 / 16), 9: 0.2 + 0.8 * 0.5}
        for token, value in once.items():
            twice = 0.2 * value + (value - 0.2)
            expected = 1.0 if step < 3 else value if step < 6 else twice
            assert float(weights[token]) == pytest.approx(expected), (step, token)
    assert not head.get_buffer("right").any()
    assert int(head.get_buffer("steps")) == 6


def test_a_type_that_is_always_right_keeps_a_little_weight() -> None:
    task = AdaptiveMaskedLM(every=1, memory=0.0)
    head = model(task).head
    many = torch.full((60,), 1e6, dtype=torch.float64)
    task.learned(head, {"amlm.right": many, "amlm.targets": many})
    assert float(head.get_buffer("weights").min()) == float(head.get_buffer("weights").max()) == 1 / 30


@pytest.mark.parametrize("micro_tokens", [4 * 24, 1])
def test_split_into_micro_batches_it_is_the_same_run(micro_tokens: int) -> None:
    """State and weights after steps over which masks change."""
    task = AdaptiveMaskedLM(every=2)

    def run(tokens: int) -> tuple[Model, list[Step]]:
        whole = model(task)
        return whole, trained(whole, feed(task, corpus(), 16, tokens), 6)

    (one, steps), (other, split) = run(16 * 24), run(micro_tokens)
    for (name, mine), (_, theirs) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    assert not torch.equal(one.head.get_buffer("weights"), torch.ones(60, dtype=torch.float64))
    for mine, theirs in zip(steps, split, strict=True):
        torch.testing.assert_close(mine.sums["amlm.loss"], theirs.sums["amlm.loss"], rtol=1e-4, atol=1e-4)
        assert torch.equal(mine.sums["amlm.targets"], theirs.sums["amlm.targets"])


def test_what_is_mastered_is_hidden_less() -> None:
    """Tokens 20 to 29 always stand after the number before them, the others anywhere."""
    draw = np.random.default_rng(1)
    ids = [np.concatenate([np.arange(20, 30), draw.integers(30, 60, 10)]) for _ in range(64)]
    group = [replace(OWN.single(one), key=key) for key, one in enumerate(ids)]
    task = AdaptiveMaskedLM(every=10)
    whole = model(task)
    steps = trained(whole, lambda step: [batch_of(task, group, OWN, step)], 60)

    def chosen(step: Step) -> float:
        targets = step.sums["amlm.targets"]
        return float(targets[20:30].sum() / targets.sum())

    assert np.mean([chosen(step) for step in steps[:10]]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([chosen(step) for step in steps[-10:]]) < 0.35
    weights = whole.head.get_buffer("weights")
    assert float(weights[20:30].mean()) < 0.5 * float(weights[30:].mean())


def test_judging_changes_no_state_and_hides_as_bert() -> None:
    task, group = AdaptiveMaskedLM(rate=0.4), made()
    judged = batch_of(task.judging(), group, OWN, 1)
    assert same(judged, batch_of(MaskedLM(), group, OWN, 1), "mlm")
    whole = weighing(task, dict.fromkeys(range(5, 60, 2), 0.01))
    assert task.decided(whole.head, judged) is judged
    before = {name: value.clone() for name, value in whole.named_buffers()}
    with torch.no_grad():
        whole(judged)
    assert all(torch.equal(value, before[name]) for name, value in whole.named_buffers())


def test_joined_the_encoder_still_goes_over_a_batch_once() -> None:
    joint = AdaptiveMaskedLM(every=1) + NextSentence()
    whole, group = model(joint), examples(joint, corpus())
    whole.head.get_submodule("amlm").get_buffer("weights")[::2] = 0.05
    passes: list[Any] = []
    whole.encoder.register_forward_hook(lambda *_: passes.append(1))
    batch = batch_of(joint, group, OWN, 1)
    loss = whole(batch)
    assert len(passes) == 1
    assert set(loss.totals) == set(batch.counts) == {"amlm", "nsp"}
    trained(whole, lambda step: [batch], 1)
    assert int(whole.head.get_submodule("amlm").get_buffer("steps")) == 1


def test_the_rate_goes_straight_to_the_final_one() -> None:
    task, group = AdaptiveMaskedLM(rate=0.4, final_rate=0.1), [OWN.single(np.arange(5, 55))]
    counts = [batch_of(task.at(done), group, OWN, 1).counts["amlm"] for done in (0.0, 0.5, 1.0)]
    assert counts == [20, 12, 5]


@torch.no_grad()
def test_sequences_without_ordinary_tokens() -> None:
    task = AdaptiveMaskedLM()
    batch = batch_of(task, [OWN.single(np.full(3, OWN.unk)), OWN.single(np.array([], np.int64))], OWN, 1)
    loss = model(task)(batch)
    assert batch.counts == {"amlm": 0}
    assert float(loss.totals["amlm"]) == 0
    assert task.report(loss.measures)["amlm.loss"] == 0


@pytest.mark.parametrize(
    "settings",
    [{"rate": 0.0}, {"final_rate": 1.0}, {"mask": 0.9, "random": 0.2}, {"every": 0}, {"memory": 1.1}, {"memory": -0.1}],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=rf"amlm\.{next(iter(settings)).removeprefix('final_')}|amlm\.final_rate"):
        AdaptiveMaskedLM(**settings)
