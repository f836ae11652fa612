"""Bag of words: what the first token's vector is asked for, and that it learns to say it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, corpus, examples, feed, model, speech, tokenizer, vocabulary

from bertwright.data.pack import pack
from bertwright.flow import Example
from bertwright.tasks.bow import BagOfWords
from bertwright.tasks.joint import Joint
from bertwright.tasks.mlm import MaskedLM
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw

OWN = vocabulary()
TASK = BagOfWords()


def bag(ids: np.ndarray) -> list[int]:
    return sorted({*ids.tolist()} - {*OWN.special})


def made() -> list[Example]:
    return examples(TASK, corpus())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=20), min_size=1, max_size=6))
def test_every_ordinary_token_is_asked_for_once(rows: list[list[int]]) -> None:
    group = [Example(ids=np.array(ids), segments=np.zeros(len(ids), np.int64)) for ids in rows]
    batch = batch_of(TASK, group, OWN, 1)
    positions, values = batch.labels["bow"]
    for first, one in zip(batch.firsts.tolist(), group, strict=True):
        assert values[positions == first].tolist() == bag(one.ids)
    assert torch.equal(batch.ids, pack(group, OWN).ids)


def test_several_sequences_of_an_example_have_bags_of_their_own() -> None:
    group = made()[:4]
    whole = Example.joined(group, {})
    assert [*map(torch.Tensor.tolist, batch_of(TASK, [whole], OWN, 1).labels["bow"])] == [
        *map(torch.Tensor.tolist, batch_of(TASK, group, OWN, 1).labels["bow"])
    ]


@pytest.mark.parametrize("joint", [MaskedLM(rate=0.9, mask=1.0, random=0.0) + TASK, TASK + MaskedLM(rate=0.9)])
def test_beside_masked_lm_hidden_tokens_are_asked_for(joint: Joint) -> None:
    batch = batch_of(joint, made(), OWN, 1)
    assert (batch.ids == OWN.mask).sum() > batch.tokens / 2
    assert all(map(torch.equal, batch.labels["bow"], batch_of(TASK, made(), OWN, 1).labels["bow"]))


def test_the_loss_is_the_cross_entropy_at_each_sequences_first_token() -> None:
    whole, group = model(TASK), made()
    expected = 0.0
    with torch.no_grad():
        for one in group:
            alone = pack([one], OWN)
            logits = whole.encoder.logits(whole.head, whole.encoder(alone)[:1])[0]
            expected -= float(logits.log_softmax(-1)[bag(one.ids)].sum())
        loss = whole(batch_of(TASK, group, OWN, 1))
    assert float(loss.totals["bow"]) == pytest.approx(expected, rel=1e-5)
    report = TASK.report(loss.measures)
    assert report["bow.loss"] == pytest.approx(expected / sum(len(bag(one.ids)) for one in group), rel=1e-5)


def test_a_sequence_of_special_tokens_alone_is_asked_for_nothing() -> None:
    whole, (first, *others) = model(TASK), made()[:3]
    bare = replace(first, ids=np.array([OWN.cls, OWN.sep]), segments=np.zeros(2, np.int64))
    with torch.no_grad():
        beside = whole(batch_of(TASK, [bare, *others], OWN, 1)).totals["bow"]
        without = whole(batch_of(TASK, others, OWN, 1)).totals["bow"]
        alone = whole(batch_of(TASK, [bare], OWN, 1)).totals["bow"]
    assert float(beside) == pytest.approx(float(without), rel=1e-6)
    assert float(alone) == 0.0


def test_it_learns_which_tokens_a_sequence_has_and_not_only_which_are_frequent() -> None:
    own = tokenizer().vocabulary
    task = MaskedLM() + BagOfWords()
    whole, batches = model(task, own.size), feed(task, speech(48))
    optimizer = adamw(whole, lr=3e-3, weight_decay=0.0)
    steps = Loop(whole, batches, optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1).steps(150)
    losses = [task.report(step.sums)["bow.loss"] for step in steps]
    bags = [{*np.setdiff1d(one.ids, own.special).tolist()} for one in examples(task, speech(48))]
    often = np.array([sum(token in one for one in bags) for token in range(own.size)])
    nats = -np.log(often.clip(1) / often.sum())
    frequencies_alone = float((often * nats).sum() / often.sum())
    assert losses[0] > frequencies_alone
    assert np.mean(losses[-5:]) < frequencies_alone - 0.5


def test_documents_are_cut_as_for_masked_lm() -> None:
    pairs = zip(made(), examples(MaskedLM(), corpus()), strict=True)
    assert all(np.array_equal(one.ids, other.ids) for one, other in pairs)
