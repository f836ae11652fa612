"""What plain transformers makes of a checkpoint, beside what bertwright does; and what is said where they differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel

from bertwright.errors import CheckpointError, RunError
from bertwright.run import theirs
from bertwright.run.answering import Answerer
from bertwright.run.verifying import verified
from bertwright.run.writing import check

OUTPUTS = {
    "classify": {"logits"},
    "tag": {"logits"},
    "span": {"start_logits", "end_logits"},
    "choice": {"logits"},
    "embed": {"last_hidden_state"},
}


@pytest.fixture
def copied(pretrained: Path, tmp_path: Path) -> Path:
    """A pretrained model that may be spoilt."""
    return Path(shutil.copytree(pretrained / "model", tmp_path / "copy"))


def change(folder: Path, changed: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    tensors = changed(load_file(folder / "model.safetensors"))
    save_file({name: x.contiguous() for name, x in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


def differences(found: dict[str, Any]) -> dict[str, Any]:
    for apart in found["differences"].values():
        assert apart["largest"] <= theirs.ALLOWED * max(1.0, apart["of"])
        assert apart["of"] > 0
    return found["differences"]


def test_a_run_and_each_of_its_saves(pretrained: Path) -> None:
    for path in (pretrained, *sorted((pretrained / "checkpoints").iterdir())):
        found = verified(str(path))
        assert set(differences(found.facts)) == {"prediction_logits", "seq_relationship_logits"}
        assert "tensors of BertForPreTraining." in found.text


@pytest.mark.parametrize("arch", ["bert", "modern", "electra"])
def test_every_architecture_and_head(store: Path, tmp_path: Path, arch: str) -> None:
    task = "rtd" if arch == "electra" else "mlm"
    few = {"train__steps": 1, "evaluate__every": 1, "save__every": 1}
    start = runs.done(runs.pretraining(store, tmp_path / arch, task=task, encoder__arch=arch, **few))
    made = differences(verified(str(start)).facts)
    assert set(made) == ({"logits", "generator/logits"} if task == "rtd" else {"logits"})
    files = {
        "classify": runs.rows(8),
        "tag": [{"tokens": ["the", "садовник"], "tags": ["B-x", "O"]}, {"tokens": ["tide"], "tags": ["O"]}] * 4,
        "span": [
            {"question": "who", "context": "the captain", "answers": {"text": ["captain"], "answer_start": [4]}}
        ] * 4,
        "choice": [{"prompt": "the sea", "endings": ["was grey", "розу", "again"], "label": 1}] * 4,
        "embed": [{"text_a": "the captain", "text_b": "a sailor"}] * 4,
    }  # fmt: skip
    for name, outputs in OUTPUTS.items():
        rows = runs.write_rows(tmp_path / f"{arch}-{name}.jsonl", files[name])
        tuned = runs.finetuning(start, rows, tmp_path / f"{arch}-{name}", task=name, data__dev=str(rows), **few)
        if name == "embed":
            tuned["tasks"] = {"embed": {"group": 2}}
        assert set(differences(verified(str(runs.done(tuned))).facts)) == outputs


def test_a_foreign_encoder_without_a_head(pretrained: Path, copied: Path, tmp_path: Path) -> None:
    """transformers' own model, as its `save_pretrained` writes it, with its pooler and beside our tokenizer."""
    config = BertConfig.from_pretrained(copied, architectures=None, tie_word_embeddings=True)
    BertModel(config).save_pretrained(tmp_path / "theirs")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(copied / file, tmp_path / "theirs")
    assert set(differences(verified(str(tmp_path / "theirs")).facts)) == {"last_hidden_state"}


def test_a_head_of_ones_own_is_left_out_by_transformers(store: Path, tmp_path: Path) -> None:
    few = {"train__steps": 1, "evaluate__every": 1, "save__every": 1}
    home = runs.done(runs.pretraining(store, tmp_path / "out", task="mlm+nsp", encoder__arch="modern", **few))
    found = verified(str(home))
    assert "for bertwright alone: " in found.text
    assert set(differences(found.facts)) == {"logits"}


def spoil_weights(folder: Path) -> None:
    change(folder, lambda tensors: {name: x * 1.5 if "0.output.dense" in name else x for name, x in tensors.items()})


def test_missing_and_left_over_tensors(copied: Path) -> None:
    change(copied, lambda tensors: tensors | {"bert.more.weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"holds what BertForPreTraining .* no place for: bert\.more\.weight$"):
        verified(str(copied))
    lost = "cls.seq_relationship.bias"
    change(copied, lambda tensors: {name: x for name, x in tensors.items() if name not in (lost, "bert.more.weight")})
    with pytest.raises(CheckpointError, match=r"lacks cls\.seq_relationship\.bias"):
        verified(str(copied))


def test_tensors_that_only_transformers_asks_for(copied: Path) -> None:
    """Of a masked LM without a head of its own, transformers would draw one at random."""
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps(config | {"architectures": ["BertForTokenClassification"]}))
    (copied / "bertwright.json").unlink()
    with pytest.raises(CheckpointError, match="has no head for tag"):
        verified(str(copied))
    (copied / "config.json").write_text(json.dumps(config | {"architectures": ["BertForTomorrow"]}))
    with pytest.raises(CheckpointError, match="its class is BertForTomorrow, and transformers has no such class"):
        verified(str(copied))


def test_other_answers(copied: Path) -> None:
    ours = Answerer(str(copied), precision="fp32")
    check(copied, ours.model, ours.tokenizer)
    spoil_weights(copied)
    with pytest.raises(RunError, match="transformers reads other prediction_logits from it than were written"):
        check(copied, ours.model, ours.tokenizer)


def test_rounding_that_an_encoder_multiplies_is_no_fault(copied: Path) -> None:
    """A norm that makes much of the last digits: apart in fp32 by more than is allowed."""
    words = "bert.embeddings.word_embeddings.weight"
    change(copied, lambda tensors: tensors | {words: tensors[words] + 1000})
    ours = Answerer(str(copied), precision="fp32")
    batch = theirs.sample(ours.tokenizer.vocabulary, ours.model.encoder.config, several=False)
    read = theirs.loaded(copied, "BertForPreTraining").model
    in_fp32 = theirs.differences(read, ours.model, batch, theirs.ours(ours.model, batch))["prediction_logits"]
    assert in_fp32.largest > theirs.ALLOWED * max(1.0, in_fp32.of)
    check(copied, ours.model, ours.tokenizer)
    differences(verified(str(copied)).facts)


def test_other_ids(copied: Path) -> None:
    """transformers makes a BERT's tokenizer anew from what tokenizer_config.json says."""
    path = copied / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"do_lower_case": not config["do_lower_case"]}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="its tokenizer in transformers makes"):
        verified(str(copied))


def test_a_padded_batch_is_what_a_tokenizer_makes(pretrained: Path) -> None:
    answerer = Answerer(str(pretrained))
    batch = theirs.sample(answerer.tokenizer.vocabulary, answerer.model.encoder.config, several=False)
    made = theirs.padded(batch, ("input_ids", "attention_mask", "token_type_ids"))
    hf = answerer.tokenizer.hf()
    ids = [x.tolist() for x in batch.ids.split(batch.lengths)]
    expected = hf.pad({"input_ids": ids}, return_tensors="pt")
    assert torch.equal(made["input_ids"], expected["input_ids"])
    assert torch.equal(made["attention_mask"], expected["attention_mask"])
    segments = made["token_type_ids"][made["attention_mask"].bool()]
    assert torch.equal(segments, batch.segments)
    assert segments.any()
