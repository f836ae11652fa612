"""Masked LM: what is hidden, how often, and what is reported."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, corpus, examples, model, numbered, speech, tokenizer, vocabulary

from bertwright.data.pack import pack
from bertwright.errors import RecipeError
from bertwright.flow import Batch, Example
from bertwright.seeds import Draws, generator
from bertwright.sums import add
from bertwright.tasks.mlm import MaskedLM, choose, ordinary_ids
from bertwright.tasks.nsp import NextSentence

FIXED = settings(max_examples=60, deadline=None, derandomize=True)
OWN = vocabulary()
# A sequence as the share of special tokens inside it and its length; draws come from the key.
SEQUENCES = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 60)), min_size=1, max_size=8)


def sequence(special: int, length: int, key: int) -> Example:
    """[CLS] ids [SEP] where about `special` tenths of the ids are special tokens."""
    draw = generator("sequence", key)
    ids = np.where(draw.random(length) < special / 10, draw.integers(0, 5, length), draw.integers(5, OWN.size, length))
    example = OWN.single(ids)
    return Example(ids=example.ids, segments=example.segments, key=key)


def made(sequences: list[tuple[int, int]]) -> list[Example]:
    return [sequence(special, length, key) for key, (special, length) in enumerate(sequences)]


def large(sequences: int = 2000, length: int = 128, size: int = 30_000) -> tuple[Batch, Batch]:
    """A large batch of ordinary tokens, as it was and as it was hidden."""
    own, draw = vocabulary(size), generator("large")
    group = [
        Example(ids=draw.integers(5, size, length), segments=np.zeros(length, np.int64), key=key)
        for key in draw.integers(0, 2**62, sequences).tolist()
    ]
    return pack(group, own), batch_of(MaskedLM(), group, own, "large")


@FIXED
@given(SEQUENCES, st.floats(0.01, 0.99))
def test_each_sequence_has_its_exact_share(sequences: list[tuple[int, int]], rate: float) -> None:
    batch = batch_of(MaskedLM(rate=rate), made(sequences), OWN, 1)
    positions = batch.labels["mlm"].positions
    assert torch.equal(positions, torch.unique(positions))
    before = pack(made(sequences), OWN).ids
    for begin, end in zip(batch.cu_seqlens, batch.cu_seqlens[1:], strict=False):
        ordinary = int((before[begin:end] >= 5).sum())
        chosen = int(((positions >= begin) & (positions < end)).sum())
        assert chosen == (max(1, round(rate * ordinary)) if ordinary else 0)
    assert batch.counts == {"mlm": len(positions)}


@FIXED
@given(SEQUENCES, st.floats(0.01, 0.99))
def test_special_tokens_are_neither_predicted_nor_changed(sequences: list[tuple[int, int]], rate: float) -> None:
    before, batch = pack(made(sequences), OWN), batch_of(MaskedLM(rate=rate), made(sequences), OWN, 1)
    positions, values = batch.labels["mlm"]
    assert torch.equal(values, before.ids[positions])
    assert not torch.isin(values, torch.tensor(OWN.special)).any()
    untouched = torch.ones(before.tokens, dtype=torch.bool)
    untouched[positions] = False
    assert torch.equal(batch.ids[untouched], before.ids[untouched])
    shown = batch.ids[positions]
    assert not torch.isin(shown, torch.tensor([0, 1, 2, 3])).any()


def test_the_shares_of_bert() -> None:
    """80 % hidden, 10 % replaced, 10 % left, of 38,000 tokens: within five standard deviations."""
    before, batch = large()
    positions = batch.labels["mlm"].positions
    assert len(positions) == 2000 * round(0.15 * 128)
    shown = batch.ids[positions]
    hidden, same = shown == 4, shown == before.ids[positions]
    assert hidden.double().mean() == pytest.approx(0.8, abs=0.01)
    assert same.double().mean() == pytest.approx(0.1, abs=0.008)
    strangers = shown[~hidden & ~same]
    assert len(strangers) / len(shown) == pytest.approx(0.1, abs=0.008)
    twentieths = torch.bincount((strangers - 5) * 20 // (30_000 - 5), minlength=20).double()
    assert float(((twentieths - twentieths.mean()) ** 2 / twentieths.mean()).sum()) < 52
    assert int(strangers.min()) >= 5


def test_every_place_is_as_likely() -> None:
    _, batch = large()
    places = torch.bincount(batch.labels["mlm"].positions % 128, minlength=128).double()
    assert float(((places - places.mean()) ** 2 / places.mean()).sum()) < 190  # 127 expected at most


@pytest.mark.parametrize(("mask", "random"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_other_shares(mask: float, random: float) -> None:
    batch = batch_of(MaskedLM(mask=mask, random=random), made([(0, 60)] * 300), OWN, 1)
    positions, values = batch.labels["mlm"]
    shown = batch.ids[positions]
    assert (shown == 4).double().mean() == pytest.approx(mask, abs=0.05)
    assert (shown == values).double().mean() == pytest.approx(1 - mask - random * (1 - 1 / 55), abs=0.05)


@FIXED
@given(SEQUENCES, st.data())
def test_masks_do_not_depend_on_the_company(sequences: list[tuple[int, int]], data: st.DataObject) -> None:
    group = made(sequences)
    alone = [batch_of(MaskedLM(), [example], OWN, 1) for example in group]
    order = data.draw(st.permutations(range(len(group))))
    together = batch_of(MaskedLM(), [group[i] for i in order], OWN, 1)
    assert torch.equal(together.ids, torch.cat([alone[i].ids for i in order]))
    shifted = [
        alone[i].labels["mlm"].positions + begin for i, begin in zip(order, together.cu_seqlens.tolist(), strict=False)
    ]
    assert torch.equal(together.labels["mlm"].positions, torch.cat(shifted))


def test_masks_differ_by_key_and_by_the_runs_words() -> None:
    ids = np.arange(5, 55)

    def hidden(key: int, *words: int | str) -> list[int]:
        example = Example(ids=ids, segments=np.zeros_like(ids), key=key)
        return batch_of(MaskedLM(), [example], OWN, *words).labels["mlm"].positions.tolist()

    assert hidden(1, 1, "label") == hidden(1, 1, "label")
    others = [hidden(2, 1, "label"), hidden(1, 2, "label"), hidden(1, 1, "evaluate")]
    assert all(other != hidden(1, 1, "label") for other in others)


@pytest.mark.parametrize("number", range(7))
def test_the_language_does_not_matter(number: int) -> None:
    own = tokenizer().vocabulary
    group = examples(MaskedLM(), speech(64)[number : number + 1])
    batch = batch_of(MaskedLM(), group, own, 1)
    ordinary = sum(int((~np.isin(example.ids, own.special)).sum()) for example in group)
    assert len(group) == 1
    assert batch.counts["mlm"] == max(1, round(0.15 * ordinary)) > 1


@pytest.mark.parametrize(
    "unknown",
    [
        (0, 0),
        (0, 3),
    ],
)
def test_sequences_without_ordinary_tokens(unknown: tuple[int, int]) -> None:
    """Nothing is predicted, the loss is 0, and its gradient moves nothing."""
    empty = [OWN.single(np.full(length, OWN.unk)) for length in unknown]
    task = MaskedLM()
    batch = batch_of(task, empty, OWN, 1)
    assert batch.counts == {"mlm": 0}
    assert torch.equal(batch.ids, pack(empty, OWN).ids)
    whole = model(task)
    loss = whole(batch)
    loss.totals["mlm"].backward()
    assert loss.totals["mlm"].item() == 0
    assert all(p.grad is None or not p.grad.any() for p in whole.parameters())
    assert task.report(loss.measures)["mlm.loss"] == 0


@torch.no_grad()
def test_an_empty_sequence_changes_nothing_beside_others() -> None:
    task, group = MaskedLM(), made([(0, 20), (0, 9)])
    whole = model(task).eval()
    with_it = batch_of(task, [group[0], OWN.single(np.array([], np.int64)), group[1]], OWN, 1)
    loss, other = whole(with_it), whole(batch_of(task, group, OWN, 1))
    torch.testing.assert_close(loss.totals["mlm"], other.totals["mlm"], rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_loss_and_report_are_those_of_the_logits() -> None:
    task = MaskedLM()
    whole, batch = model(task).eval(), batch_of(task, examples(task, corpus()), OWN, 1)
    positions, values = batch.labels["mlm"]
    logits = whole.encoder.logits(whole.head, whole.encoder(pack(examples(task, corpus()), OWN).with_ids(batch.ids)))
    loss = whole(batch)
    mean = F.cross_entropy(logits[positions], values)
    report = task.report(add([loss.measures]))
    assert report["mlm.loss"] == pytest.approx(float(mean), rel=1e-5)
    assert float(loss.totals["mlm"]) == pytest.approx(float(mean) * len(values), rel=1e-5)
    assert report["mlm.perplexity"] == pytest.approx(exp(float(mean)), rel=1e-4)
    assert report["mlm.accuracy"] == float((logits[positions].argmax(-1) == values).double().mean())
    assert report["mlm.commonest"] == float((values == values.mode().values).double().mean())
    assert task.score(report) == -report["mlm.loss"]


@torch.no_grad()
def test_asked_for_everything_it_answers_everywhere() -> None:
    task = MaskedLM()
    whole, batch = model(task).eval(), pack(made([(0, 9), (3, 20)]), OWN)
    said = task.logits(whole.encoder, whole.head, task.asks(batch))["mlm"]
    assert said.shape == (batch.tokens, OWN.size)
    torch.testing.assert_close(said, whole.encoder.logits(whole.head, whole.encoder(batch)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"rate": 0}, {"rate": 1}, {"rate": -0.1}, {"mask": -0.1}, {"random": 0.3}, {"mask": 0.5, "random": 0.6}],
)
def test_settings_that_are_no_shares(settings: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"mlm\.(rate|mask)"):
        MaskedLM(**settings)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.2])
def test_a_final_rate_that_is_no_share(value: float) -> None:
    with pytest.raises(RecipeError, match=r"mlm\.final_rate is a share between 0 and 1"):
        MaskedLM(final_rate=value)


def test_the_rate_goes_straight_to_the_final_one() -> None:
    task, group = MaskedLM(rate=0.4, final_rate=0.1), made([(0, 100)] * 3)
    for done, rate in ((0.0, 0.4), (0.5, 0.25), (1.0, 0.1)):
        assert batch_of(task.at(done), group, OWN, 1).counts == {"mlm": 3 * round(100 * rate)}
    assert MaskedLM(rate=0.4).at(0.7) == MaskedLM(rate=0.4)
    joint = (task + NextSentence()).at(0.5)
    assert [getattr(part, "rate", None) for part in joint.parts] == [0.25, None]


@pytest.mark.parametrize("task", [MaskedLM(rate=0.5), MaskedLM(rate=0.4, final_rate=0.1), MaskedLM(mask=1.0, random=0)])
def test_what_is_held_out_is_hidden_alike_whatever_is_learned(task: MaskedLM) -> None:
    group = made([(0, 60), (3, 40)])
    expected = batch_of(MaskedLM(), group, OWN, 1)
    for same in (task.judging(), (task + NextSentence()).judging().parts[0]):
        judged = batch_of(same, group, OWN, 1)
        assert torch.equal(judged.ids, expected.ids)
        assert torch.equal(judged.labels["mlm"].positions, expected.labels["mlm"].positions)
    assert not torch.equal(batch_of(task, group, OWN, 1).ids, expected.ids)


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.3])
def test_the_z_loss_is_the_square_of_the_log_of_the_sum(z_loss: float) -> None:
    task = MaskedLM(z_loss=z_loss)
    whole, batch = model(task), batch_of(task, examples(task, corpus()), OWN, 1)
    loss = whole(batch)
    loss.totals["mlm"].backward()
    found = {name: p.grad.clone() for name, p in whole.named_parameters() if p.grad is not None}
    whole.zero_grad()
    logits, targets = task.logits(whole.encoder, whole.head, batch)["mlm"], batch.labels["mlm"].values
    nats = F.cross_entropy(logits, targets, reduction="sum")
    total = nats + z_loss * logits.exp().sum(-1).log().square().sum()
    total.backward()
    torch.testing.assert_close(loss.totals["mlm"], total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss.measures["mlm.loss"], nats.detach(), rtol=1e-5, atol=1e-5)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, whole.get_parameter(name).grad, rtol=1e-4, atol=1e-4, msg=name)


def test_a_negative_z_loss_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"mlm\.z_loss is a weight of at least 0, not -1"):
        MaskedLM(z_loss=-1.0)


@FIXED
@given(st.lists(st.integers(1, 50), max_size=8), st.integers(3, 30))
def test_a_document_is_read_from_end_to_end(lengths: list[int], length: int) -> None:
    (document, _) = numbered([lengths or [1], [1]], length)
    found = list(MaskedLM().examples(document, np.random.default_rng(sum(lengths))))
    assert all(3 <= len(example) <= length for example in found)
    assert all(example.ids[0] == 2 and example.ids[-1] == 3 and not example.segments.any() for example in found)
    read = np.concatenate([example.ids[1:-1] for example in found])
    np.testing.assert_array_equal(read, np.concatenate(document.sentences))
    assert all(len(example) == length for example in found[1:-1])


def test_borders_move_from_epoch_to_epoch() -> None:
    (document, _) = numbered([[50] * 10, [1]], 32)
    firsts = [len(next(MaskedLM().examples(document, np.random.default_rng(seed)))) - 2 for seed in range(400)]
    assert set(firsts) == set(range(1, 31))


def test_a_document_without_sentences_gives_nothing() -> None:
    (document, *_) = corpus()
    assert list(MaskedLM().examples(replace(document, sentences=[]), np.random.default_rng(0))) == []


def test_ordinary_ids_are_all_but_the_special_ones() -> None:
    assert ordinary_ids(OWN).tolist() == list(range(5, 60))


def test_the_smallest_draws_are_chosen() -> None:
    ids = np.array([2, 10, 11, 12, 13, 3, 2, 20, 3])
    draws = np.array([0.0, 0.4, 0.1, 0.3, 0.2, 0.0, 0.0, 0.9, 0.0])
    assert choose(ids, (6, 3), 0.5, draws, OWN).tolist() == [2, 4, 7]


def test_labels_are_the_same_from_the_same_draws() -> None:
    group, task = made([(1, 30), (0, 4)]), MaskedLM()
    one, two = (task.label(pack(group, OWN), group, Draws(1)) for _ in range(2))
    assert torch.equal(one.ids, two.ids)
