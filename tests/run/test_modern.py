"""The same runs with another architecture: trained, written, read by transformers, resumed and fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import runs
import torch
import transformers
from samples import corpus, feed, vocabulary

from bertwright.encoders.base import Encoder
from bertwright.encoders.modern import Modern
from bertwright.run import writing
from bertwright.run.answering import Answerer, filler
from bertwright.run.provenance import Provenance
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw


@pytest.fixture(scope="module")
def modern(store: Path, base: Path) -> Path:
    return runs.done(runs.pretraining(store, base / "modern", encoder__arch="modern"))


def config_of(home: Path) -> dict[str, object]:
    return json.loads((home / "model" / "config.json").read_text(encoding="utf-8"))


def test_thirty_steps_lower_the_loss() -> None:
    """Sequences of up to 160 tokens: further than a local layer sees."""
    task = MaskedLM()
    encoder = Encoder.from_config("tiny", arch="modern", vocab_size=60, tokens=vocabulary(), seed=1)
    whole = Model(encoder, task)
    encoder.draw_head(whole.head, 1, "paper")
    whole.set_dropout(0.1)
    shapes = [(7, 90, 12, 60, 31), (40, 4), (150, 9), (20, 20, 20, 20, 20, 20, 20)] * 4
    batches = feed(task, corpus(shapes, length=160), batch_size=8, micro_tokens=1024)
    loop = Loop(
        whole, batches, adamw(whole, lr=2e-3, weight_decay=0.01), lambda step: 1.0, clip=1.0, precision="fp32", seed=1
    )
    losses = [task.report(step.sums)["mlm.loss"] for step in loop.steps(30)]
    assert losses[0] == pytest.approx(4.1, abs=0.3)  # log 60
    assert sum(losses[-5:]) / 5 < losses[0] - 0.3


def test_what_is_written_is_what_transformers_reads(modern: Path, store: Path) -> None:
    """transformers has no class for both heads: it is the one for masked LM, and the other's tensors lie beside it."""
    config = config_of(modern)
    assert (config["architectures"], config["model_type"]) == (["ModernBertForMaskedLM"], "modernbert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(modern / "model")
    assert config["pad_token_id"] == tokenizer.pad_token_id
    assert config["cls_token_id"] == config["bos_token_id"] == tokenizer.cls_token_id
    assert config["sep_token_id"] == config["eos_token_id"] == tokenizer.sep_token_id
    model, info = transformers.AutoModelForMaskedLM.from_pretrained(modern / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    pair = {"cls.seq_relationship.bias", "cls.seq_relationship.weight", "pooler.dense.weight", "pooler.norm.weight"}
    assert info["unexpected_keys"] == pair
    said = tokenizer(["The captain saw [MASK] storm."], return_tensors="pt")
    assert set(said) == {"input_ids", "attention_mask"}
    place = int((said["input_ids"][0] == tokenizer.mask_token_id).nonzero())
    with torch.no_grad():
        share, best = model.eval()(**said).logits[0, place].softmax(-1).max(-1)
    word, probability = filler(str(modern)).fill("The captain saw [MASK] storm.", top=1)[0][0]
    assert word == tokenizer.convert_ids_to_tokens(int(best))
    assert probability == pytest.approx(float(share), rel=0.02)


def test_it_is_judged_with_both_heads(modern: Path, store: Path) -> None:
    found = Provenance.read(modern / "model")
    assert found is not None
    assert found.sentence().endswith("Heads: mlm (new), nsp (new). This is pretraining from scratch.")
    assert {tensor.part for tensor in found.tensors} == {"embeddings", "layer 1", "layer 2", "head mlm", "head nsp"}
    parts = {tensor.name: tensor.part for tensor in found.tensors}
    assert parts["model.final_norm.weight"] == "layer 2"
    report = Answerer(str(modern), precision="fp32", length=32).evaluate_store(str(store), 16)
    assert report == pytest.approx(dict(found.heldout), rel=1e-4)


def test_a_run_that_was_killed_goes_on_to_the_same_weights(modern: Path, store: Path, tmp_path: Path) -> None:
    tables = runs.pretraining(store, tmp_path / "run", encoder__arch="modern")
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(5))
    assert runs.same_weights(runs.done(tables), modern)


@pytest.mark.parametrize("freeze", ["", "1"])
def test_it_is_fine_tuned(modern: Path, labelled: Path, tmp_path: Path, freeze: str) -> None:
    long_enough = {"train__steps": 24, "train__lr": 2e-3, "evaluate__every": 24, "encoder__freeze": freeze}
    home = runs.done(runs.finetuning(modern, labelled, tmp_path / "run", **long_enough))
    record = Provenance.read(home / "model")
    assert record is not None
    assert "Encoder: 14 of 14 tensors loaded" in record.sentence()
    assert "Head: classify (2 of 4 tensors loaded, the rest new), 2 classes." in record.sentence()
    assert record.heldout["classify.accuracy"] > 0.9
    assert config_of(home)["architectures"] == ["ModernBertForSequenceClassification"]
    _, info = transformers.AutoModelForSequenceClassification.from_pretrained(home / "model", output_loading_info=True)
    assert not any(info.values())
    before, after = runs.weights(modern / "model"), runs.weights(home / "model")
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("model.embeddings.", "model.layers.0."))}
    assert changed == set(before.keys() & after.keys()) - (frozen if freeze else set())
    assert "model.final_norm.weight" in changed
    answers = Answerer(str(home), precision="fp32").predict([{"text": "The crew kept the tide at dawn."}])
    assert next(iter(answers))["predicted"] == "sea"


def test_pairs_alone_are_written_as_the_bare_model(store: Path, tmp_path: Path) -> None:
    home = runs.done(runs.pretraining(store, tmp_path / "run", encoder__arch="modern", task="nsp", train__steps=2))
    assert config_of(home)["architectures"] == ["ModernBertModel"]
    encoder = Encoder.from_pretrained(home)
    assert isinstance(encoder, Modern)
    assert Answerer(str(home)).task == NextSentence()


def test_classes_of_transformers() -> None:
    def named(arch: str, task: object) -> str:
        encoder = Encoder.from_config("tiny", arch=arch, vocab_size=60)
        return writing.architecture(Model(encoder, task))  # type: ignore[arg-type]

    assert named("bert", MaskedLM() + NextSentence()) == "BertForPreTraining"
    assert named("bert", NextSentence()) == "BertForNextSentencePrediction"
    assert named("modern", NextSentence() + MaskedLM()) == "ModernBertForMaskedLM"
    assert named("modern", NextSentence()) == "ModernBertModel"
