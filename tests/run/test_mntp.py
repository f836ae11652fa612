"""A run of masked next-token prediction: it resumes, is judged in both ways, and no one takes its head for another."""

from __future__ import annotations

from pathlib import Path

import pytest
import runs
import torch
import transformers

from bertwright.encoders.exchange import Checkpoint
from bertwright.errors import CheckpointError
from bertwright.run.answering import Answerer, filler
from bertwright.run.likelihood import Likelihood, Text
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.mntp import MaskedNextToken


@pytest.fixture(scope="module")
def unbroken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(mixed(store, tmp_path_factory.mktemp("mntp") / "run"))


def mixed(store: Path, out: Path) -> dict[str, object]:
    return runs.pretraining(store, out, task="mntp", train__steps=6, save__every=3, **{"tasks.mntp.causal": 0.5})


def test_killed_and_started_again(unbroken: Path, store: Path, tmp_path: Path) -> None:
    tables = mixed(store, tmp_path / "run")
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(4))
    home = runs.done(tables)
    assert runs.metrics(home) == runs.metrics(unbroken)
    assert runs.same_weights(home, unbroken)


def test_both_ways_are_judged_and_judged_again_alike(unbroken: Path, store: Path) -> None:
    heldout = [line["heldout"] for line in runs.metrics(unbroken) if "heldout" in line][-1]
    report = Answerer(str(unbroken), precision="fp32", length=32).evaluate_store(str(store), 16)
    assert {"mntp.accuracy", "mntp.next_accuracy"} <= report.keys()
    assert report == pytest.approx(heldout, rel=1e-4)


def test_masks_are_filled_from_the_token_before(unbroken: Path) -> None:
    """By hand: the head on the vector before the mask."""
    answerer = filler(str(unbroken))
    assert isinstance(answerer.task, MaskedNextToken)
    text = "the [MASK] left"
    answerer.precision = "fp32"
    ((first, share), *_), *_ = answerer.fill(text, 3)
    example = answerer.tokenizer.vocabulary.single(answerer.tokenizer.encode_with_special(text))
    before = list(example.ids).index(answerer.tokenizer.vocabulary.mask) - 1
    with torch.no_grad():
        encoder = answerer.model.encoder
        hidden = encoder(answerer._batch([example]))[before][None]
        shares = encoder.logits(answerer.model.head, hidden).softmax(-1)[0]
    assert answerer.tokenizer.token(int(shares.argmax())) == first
    assert share == pytest.approx(float(shares.max()), rel=1e-4)


def test_sentences_are_scored_from_the_token_before(unbroken: Path) -> None:
    """By hand: each token hidden in turn."""
    answerer = filler(str(unbroken))
    ids = answerer.tokenizer.encode("the boat left the harbour")
    vocabulary, encoder, total = answerer.tokenizer.vocabulary, answerer.model.encoder, 0.0
    for at, token in enumerate(ids):
        shown = ids.copy()
        shown[at] = vocabulary.mask
        with torch.no_grad():
            # With [CLS] in front, the vector numbered as a token is, is that of the token before it.
            hidden = encoder(answerer._batch([vocabulary.single(shown)]))[at][None]
            total += float(encoder.logits(answerer.model.head, hidden).log_softmax(-1)[0, token])
    (score,) = Likelihood(answerer)([Text(ids, ids * 0)])
    assert score == pytest.approx(total, rel=1e-5)


def test_nobody_takes_its_head_for_masked_lm(unbroken: Path) -> None:
    with pytest.raises(CheckpointError, match="has no head for mlm"):
        Answerer(str(unbroken), MaskedLM())
    assert Checkpoint.open(unbroken / "model").config.architectures == ["BertModel"]
    theirs = transformers.BertForMaskedLM.from_pretrained(unbroken / "model", output_loading_info=True)[1]
    assert {"cls.predictions.bias", "cls.predictions.transform.dense.weight"} <= theirs["missing_keys"]
