"""Masked next-token prediction: what is hidden where, what is said from where, and what causal rows see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from samples import batch_of, corpus, encoder, examples, model, vocabulary

from bertwright.encoders.base import Encoder
from bertwright.errors import RecipeError
from bertwright.flow import Batch
from bertwright.sums import add
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.mntp import MaskedNextToken

OWN = vocabulary()
GROUP = examples(MaskedNextToken(), corpus())


def labelled(causal: float, **settings: Any) -> Batch:
    return batch_of(MaskedNextToken(causal=causal, **settings), GROUP, OWN, 1)


def small_encoder(arch: str) -> Encoder:
    """Of ModernBERT with windows of four tokens in its second layer."""
    if arch == "modern":
        return Encoder.from_config("tiny", arch="modern", vocab_size=60, seed=1, local_attention=8).eval()
    return encoder(arch=arch).eval()


def test_without_causal_rows_it_is_masked_lm_read_one_token_earlier() -> None:
    mine, other = labelled(0.0), batch_of(MaskedLM(), GROUP, OWN, 1)
    assert mine.causal is None
    assert torch.equal(mine.ids, other.ids)
    masked = mine.labels["mntp.masked"]
    assert torch.equal(masked.positions + 1, other.labels["mlm"].positions)
    assert torch.equal(masked.values, other.labels["mlm"].values)
    assert not len(mine.labels["mntp.next"].positions)


def test_a_causal_row_shows_all_and_says_what_follows() -> None:
    batch = labelled(1.0)
    plain = torch.tensor([token for example in GROUP for token in example.ids])
    assert batch.causal is not None
    assert batch.causal.all()
    assert torch.equal(batch.ids, plain)
    assert not len(batch.labels["mntp.masked"].positions)
    places, tokens = batch.labels["mntp.next"]
    assert torch.equal(plain[places + 1], tokens)
    assert len(places) == sum(len(example) - 2 for example in GROUP)  # all but [CLS] and [SEP]


def test_as_many_rows_are_causal_as_asked() -> None:
    many = examples(MaskedNextToken(), corpus([(20, 30, 40)] * 400))
    batch = batch_of(MaskedNextToken(causal=0.25), many, OWN, 1)
    assert batch.causal is not None
    of_rows = batch.causal[batch.firsts].double()
    error = (0.25 * 0.75 / len(of_rows)) ** 0.5
    assert len(of_rows) > 1000
    assert abs(float(of_rows.mean()) - 0.25) < 4 * error
    masked = batch.labels["mntp.masked"].positions
    assert not batch.causal[masked].any()
    assert batch.causal[batch.labels["mntp.next"].positions].all()


@pytest.mark.parametrize("arch", ["bert", "modern", "electra"])
@torch.no_grad()
def test_a_causal_row_does_not_see_what_follows(arch: str) -> None:
    """To the last bit: other tokens behind a place change nothing before it; in a row that is not causal they do."""
    whole = small_encoder(arch)
    batch = replace(labelled(0.5), reads=None, labels={})
    assert batch.causal is not None
    before = whole(batch)
    kinds = set()
    for first, length in zip(batch.firsts.tolist(), batch.lengths, strict=True):
        ids, middle = batch.ids.clone(), first + length // 2
        ids[middle : first + length] = 59 - ids[middle : first + length]
        after, causal = whole(batch.with_ids(ids)), bool(batch.causal[first])
        kinds.add(causal)
        others = torch.ones(batch.tokens, dtype=torch.bool)
        others[first if not causal else middle : first + length] = False
        assert torch.equal(before[others], after[others])
        assert causal == torch.equal(before[first:middle], after[first:middle])
        assert not torch.equal(before[middle : first + length], after[middle : first + length])
    assert kinds == {True, False}


@pytest.mark.parametrize("arch", ["bert", "modern", "electra"])
@torch.no_grad()
def test_packed_and_read_in_part_equals_alone(arch: str) -> None:
    whole = small_encoder(arch)
    batch = labelled(0.5)
    assert batch.reads is not None
    everywhere = whole(replace(batch, reads=None))
    torch.testing.assert_close(whole(batch), everywhere[batch.reads], rtol=1e-4, atol=1e-5)
    rows = zip(everywhere.split(batch.lengths), GROUP, strict=True)
    for row, example in rows:
        alone = batch_of(MaskedNextToken(causal=0.5), [example], OWN, 1)
        torch.testing.assert_close(whole(replace(alone, reads=None)), row, rtol=1e-4, atol=1e-5)


def test_both_are_judged_whole_and_reported_apart() -> None:
    task = MaskedNextToken(causal=0.25, rate=0.3, final_rate=0.2)
    masked, following = task.judging().passes()
    assert masked == MaskedNextToken(causal=0.0)
    assert following == MaskedNextToken(causal=1.0)
    whole = model(task).eval()
    batches = [batch_of(part, GROUP, OWN, 1) for part in (masked, following)]
    report = task.report(add([whole(batch).measures for batch in batches]))
    first, second = (task.report(add([whole(batch).measures])) for batch in batches)
    assert report == {name: (second if ".next_" in name else first)[name] for name in report}
    assert {"mntp.accuracy", "mntp.commonest", "mntp.next_accuracy", "mntp.next_commonest"} <= report.keys()


def test_each_mean_weighs_as_its_share_of_the_rows() -> None:
    whole = {share: model(MaskedNextToken(causal=share)).eval() for share in (0.0, 0.25)}
    batch = labelled(0.25)
    plain = whole[0.0](batch)
    shared = whole[0.25](batch).totals
    torch.testing.assert_close(shared["mntp.masked"], 0.75 * plain.measures["mntp.masked.loss"].float())
    torch.testing.assert_close(shared["mntp.next"], 0.25 * plain.measures["mntp.next.loss"].float())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"causal": 1.5}, r"mntp\.causal"), ({"rate": 0.0}, r"mntp\.rate"), ({"mask": 0.9, "random": 0.2}, r"mntp\.mask")],
)
def test_settings_out_of_range_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        MaskedNextToken(**settings)
