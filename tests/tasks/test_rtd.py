"""Replaced-token detection: what is drawn, what is right, what is shared, and what is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import batch_of, corpus, encoder, examples, feed, model, speech, tokenizer, vocabulary, weights

from bertwright.data.pack import pack
from bertwright.errors import RecipeError
from bertwright.flow import Batch, Example
from bertwright.nn.sampling import sampled
from bertwright.sums import add
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.tasks.rtd import ReplacedToken
from bertwright.train.loop import Loop, Step
from bertwright.train.optim import adamw

OWN = vocabulary()
WORDS = tokenizer().vocabulary


def made(number: int = 12) -> list[Example]:
    return examples(ReplacedToken(), corpus())[:number]


def gradients(whole: Model, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    """Of all losses, each divided by its count over all batches, as the loop does it."""
    whole.zero_grad()
    counts = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
    for batch in batches:
        sum(total / counts[name] for name, total in whole(batch).totals.items()).backward()  # type: ignore[union-attr]
    return {name: p.grad.clone() for name, p in whole.named_parameters() if p.grad is not None}


def trained(whole: Model, batches: Callable[[int], list[Batch]], steps: int) -> list[Step]:
    optimizer = adamw(whole, lr=3e-3, weight_decay=0.0)
    return list(Loop(whole, batches, optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1).steps(steps))


def test_masks_are_those_of_masked_lm() -> None:
    batch, plain = (batch_of(task, made(), OWN, 1) for task in (ReplacedToken(), MaskedLM(mask=0.85, random=0.0)))
    assert torch.equal(batch.ids, plain.ids)
    for one, other in zip(batch.labels["rtd.generator"], plain.labels["mlm"], strict=True):
        assert torch.equal(one, other)
    places, originals = batch.labels["rtd.generator"]
    assert set(batch.ids[places].ne(originals).tolist()) == {True, False}
    all_masked = batch_of(ReplacedToken(mask=1.0), made(), OWN, 1)
    assert (all_masked.ids[all_masked.labels["rtd.generator"].positions] == OWN.mask).all()


def test_every_ordinary_token_is_judged_by_its_original() -> None:
    group = examples(ReplacedToken(), speech())
    before, batch = pack(group, WORDS).ids, batch_of(ReplacedToken(), group, WORDS, 1)
    positions, originals = batch.labels["rtd"]
    assert torch.equal(originals, before[positions])
    assert set(positions.tolist()) == {at for at, one in enumerate(before.tolist()) if one not in WORDS.special}
    assert batch.counts == {"rtd.generator": len(batch.draws["rtd"]), "rtd": len(positions)}


def test_draws_are_the_examples_own() -> None:
    group = made()
    together = batch_of(ReplacedToken(), group, OWN, 1)
    alone = [batch_of(ReplacedToken(), [example], OWN, 1) for example in group]
    assert torch.equal(together.draws["rtd"], torch.cat([one.draws["rtd"] for one in alone]))
    assert len(torch.unique(together.draws["rtd"])) == len(together.draws["rtd"])
    other = batch_of(ReplacedToken(), group, OWN, 2)
    assert not torch.equal(together.draws["rtd"][:5], other.draws["rtd"][:5])


def test_drawn_as_often_as_the_softmax_says() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0], [3.0, 0.0, 0.0, -40.0]]).repeat_interleave(20_000, 0)
    draws = torch.from_numpy((np.arange(40_000) % 20_000 + 0.5) / 20_000)
    drawn = sampled(logits, draws).view(2, -1)
    for row, shares in zip(drawn, logits[::20_000].softmax(-1), strict=True):
        torch.testing.assert_close(torch.bincount(row, minlength=4) / 20_000, shares, rtol=0, atol=1e-4)
    assert sampled(logits[:2], torch.tensor([0.0, 1.0])).tolist() == [0, 3]
    assert sampled(torch.tensor([[-200.0, 0.0, 0.0, -200.0]] * 2), torch.tensor([0.0, 0.9999])).tolist() == [1, 2]


@torch.no_grad()
def test_losses_and_report_are_those_of_the_two_models() -> None:
    task = ReplacedToken()
    whole, batch = model(task).eval(), batch_of(task, made(), OWN, 1)
    (places, originals), (positions, expected) = batch.labels["rtd.generator"], batch.labels["rtd"]
    words = task.logits(whole.encoder, whole.head, batch)["rtd.generator"]
    seen = batch.ids.clone()
    seen[places] = sampled(words, batch.draws["rtd"])
    doubts = task.logits(whole.encoder, whole.head, batch.with_ids(seen))["rtd"]
    replaced = seen[positions] != expected
    assert 0 < int(replaced.sum()) <= len(places)
    loss = whole(batch)
    generated, detected = (
        F.cross_entropy(words, originals),
        F.binary_cross_entropy_with_logits(doubts, replaced.float()),
    )
    assert float(loss.totals["rtd.generator"]) == pytest.approx(float(generated) * len(places), rel=1e-5)
    assert float(loss.totals["rtd"]) == pytest.approx(50 * float(detected) * len(positions), rel=1e-5)
    report = task.report(add([loss.measures]))
    found = float(((doubts > 0) & replaced).sum())
    assert report == pytest.approx(
        {
            "rtd.loss": float(generated + 50 * detected),
            "rtd.generator_loss": float(generated),
            "rtd.generator_accuracy": float((words.argmax(-1) == originals).double().mean()),
            "rtd.encoder_loss": float(detected),
            "rtd.accuracy": float(((doubts > 0) == replaced).double().mean()),
            "rtd.originals": float((~replaced).double().mean()),
            "rtd.recall": found / float(replaced.sum()),
            "rtd.precision": found / max(1.0, float((doubts > 0).sum())),
        },
        rel=1e-5,
    )


def test_what_the_generator_draws_right_is_original() -> None:
    task, whole = ReplacedToken(), model(ReplacedToken())
    batch = batch_of(task, made(), OWN, 1)
    whole.head.get_submodule("generator.predictor").bias.data[:] = -1e4  # type: ignore[union-attr, index]
    whole.head.get_submodule("generator.predictor").bias.data[7] = 1e4  # type: ignore[union-attr, index]
    measures = whole(batch).measures
    assert int(measures["rtd.replaced"]) == int((batch.labels["rtd.generator"].values != 7).sum())


def test_the_generators_gradient_is_its_own_but_for_the_shared_embeddings() -> None:
    task, group = ReplacedToken(), made()
    whole, batch = model(task), batch_of(task, group, OWN, 1)
    loss = whole(batch)
    loss.totals["rtd"].backward(retain_graph=True)
    assert all(p.grad is None for p in whole.head.get_submodule("generator").parameters())
    whole.zero_grad()
    loss.totals["rtd.generator"].backward()
    moved = {name for name, p in whole.named_parameters() if p.grad is not None}
    assert {"encoder.words.weight", "encoder.places.weight", "encoder.segments.weight", "encoder.norm.weight"} <= moved
    assert not any(name.startswith(("encoder.layers.", "head.discriminator.")) for name in moved)


def test_the_generator_is_narrower_and_holds_no_embeddings() -> None:
    for width, hidden, heads in ((0.25, 8, 1), (0.5, 16, 2), (1.0, 32, 4)):
        generator = ReplacedToken(width=width).head(encoder(arch="electra")).get_submodule("generator")
        assert generator.config.hidden_size == hidden  # type: ignore[union-attr]
        assert generator.config.num_attention_heads == heads  # type: ignore[union-attr]
        assert not any(isinstance(part, torch.nn.Embedding) for part in generator.modules())
        assert len(generator.layers) == 2  # type: ignore[arg-type]


def test_split_into_micro_batches_it_is_the_same_step() -> None:
    task = ReplacedToken()
    whole = model(task)
    by_size = [feed(task, corpus(), 16, micro_tokens)(3) for micro_tokens in (16 * 24, 4 * 24, 1)]
    assert len(by_size[0]) == 1 < len(by_size[1]) < len(by_size[2]) == 16
    one, *others = ([gradients(whole, batches), add([whole(b).measures for b in batches])] for batches in by_size)
    for other in others:
        for expected, found in zip(one, other, strict=True):
            assert expected.keys() == found.keys()
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-5, msg=name)


def test_trained_it_finds_what_is_replaced() -> None:
    """On a few sentences, by heart: better than taking every token for original."""
    task = ReplacedToken()
    group = examples(task, speech())
    whole = model(task, WORDS.size)
    steps = trained(whole, lambda step: [batch_of(task, group, WORDS, step)], 150)
    first, last = (task.report(add([step.sums for step in part])) for part in (steps[:10], steps[-10:]))
    assert last["rtd.accuracy"] > last["rtd.originals"] + 0.05
    assert last["rtd.recall"] > 0.5
    assert last["rtd.generator_loss"] < 0.8 * first["rtd.generator_loss"]


@torch.no_grad()
def test_sequences_without_ordinary_tokens() -> None:
    task = ReplacedToken()
    batch = batch_of(task, [OWN.single(np.full(3, OWN.unk)), OWN.single(np.array([], np.int64))], OWN, 1)
    loss = model(task)(batch)
    assert batch.counts == {"rtd.generator": 0, "rtd": 0}
    assert all(float(total) == 0 for total in loss.totals.values())
    assert task.report(loss.measures)["rtd.loss"] == 0


def test_joined_with_next_sentence_both_learn() -> None:
    joint = ReplacedToken() + NextSentence()
    assert joint.arch == "electra"
    assert set(joint.companions(encoder(arch="electra"))) == {"generator"}
    whole, group = model(joint), examples(joint, corpus())
    before = weights(whole)
    batch = batch_of(joint, group, OWN, 1)
    assert set(whole(batch).totals) == set(batch.counts) == {"rtd.generator", "rtd", "nsp"}
    trained(whole, lambda step: [batch], 1)
    assert not [name for name, value in whole.named_parameters() if torch.equal(value, before[name])]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"rate": 0.0}, r"rtd\.rate"), ({"mask": 1.1}, r"rtd\.mask"), ({"width": 0.0}, r"rtd\.width"),
     ({"width": 1.5}, r"rtd\.width"), ({"weight": 0.0}, r"rtd\.weight"), ({"weight": float("nan")}, r"rtd\.weight")],
)  # fmt: skip
def test_settings_out_of_range(settings: dict[str, float], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        ReplacedToken(**settings)


def test_another_architecture_is_refused() -> None:
    with pytest.raises(RecipeError, match="rtd learns with an ELECTRA encoder, and this is a bert"):
        ReplacedToken().head(encoder())


@torch.no_grad()
def test_joined_the_other_heads_see_the_masks() -> None:
    """The encoder goes over a batch twice, and each head reads the pass that is its own."""
    joint = ReplacedToken() + NextSentence()
    whole, batch = model(joint).eval(), batch_of(joint, examples(joint, corpus()), OWN, 1)
    alone = NextSentence().loss(whole.encoder, whole.head.get_submodule("nsp"), batch)
    torch.testing.assert_close(whole(batch).totals["nsp"], alone.totals["nsp"])


def test_what_is_held_out_is_hidden_alike_whatever_is_learned() -> None:
    task = ReplacedToken(rate=0.4, mask=1.0, weight=10.0)
    judged, plain = (batch_of(one, made(), OWN, 1) for one in (task.judging(), ReplacedToken()))
    assert torch.equal(judged.ids, plain.ids)
    assert not torch.equal(batch_of(task, made(), OWN, 1).ids, plain.ids)
    assert task.judging().weight == 10.0
