"""A run of replaced-token detection: both models as transformers reads them, broken off, gone on with, fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs
import torch
import transformers

from bertwright.encoders.exchange import Checkpoint
from bertwright.errors import CheckpointError, RecipeError
from bertwright.run.answering import Answerer, filler, task_of_checkpoint
from bertwright.run.choose import task_of
from bertwright.run.run import Stopped
from bertwright.run.shipped import laid_over, tables_of
from bertwright.run.spec import Recipe
from bertwright.tasks.joint import Joint
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.rtd import ReplacedToken

PIECEMEAL: dict[str, Any] = {"task": "rtd", "train__dropout": 0.1, "train__micro_tokens": 64}
SHARED = "electra.embeddings."


@pytest.fixture(scope="module")
def electra(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("electra") / "run", **PIECEMEAL))


def test_the_architecture_goes_with_the_objective(electra: Path) -> None:
    assert Recipe.read(electra / "recipe.toml").encoder.arch == "electra"
    assert {"rtd.loss", "rtd.generator_loss", "rtd.recall"} <= runs.metrics(electra)[-1]["heldout"].keys()


@torch.no_grad()
def test_transformers_reads_both_models_whole(electra: Path) -> None:
    both = {electra / "model": "ElectraForPreTraining", electra / "model/generator": "ElectraForMaskedLM"}
    for folder, name in both.items():
        kind: Any = getattr(transformers, name)
        model, info = kind.from_pretrained(folder, output_loading_info=True)
        assert {key: list(value) for key, value in info.items() if value} == {}
        assert model.config.architectures == [name]
        assert transformers.AutoTokenizer.from_pretrained(folder)("tide")["input_ids"]
    assert isinstance(transformers.AutoModel.from_pretrained(electra / "model"), transformers.ElectraModel)
    whole, part = (runs.weights(folder) for folder in (electra / "model", electra / "model" / "generator"))
    assert all(name.startswith(("electra.", "discriminator_predictions.")) for name in whole)
    shared = {name for name in part if name.startswith(SHARED)}
    assert {name for name in whole if name.startswith(SHARED)} == shared
    assert all(torch.equal(whole[name], part[name]) for name in shared)


@pytest.mark.parametrize("step", [1, 4])
def test_broken_off_it_comes_to_the_same(electra: Path, store: Path, tmp_path: Path, step: int) -> None:
    tables = runs.pretraining(store, tmp_path / "run", **PIECEMEAL)
    with pytest.raises(Stopped):
        runs.done(tables, *runs.stopping_at(step))
    home = runs.done(tables)
    assert runs.metrics(home) == runs.metrics(electra)
    assert runs.same_weights(home, electra)
    parts = [run / "model" / "generator" / "model.safetensors" for run in (home, electra)]
    assert parts[0].read_bytes() == parts[1].read_bytes()


def test_it_goes_on_with_its_generator(electra: Path, store: Path, tmp_path: Path) -> None:
    watcher = runs.Watcher()
    changes = {"task": "rtd", "encoder__start": str(electra), "train__steps": 1, "train__lr": 1e-12}
    home = runs.done(runs.pretraining(store, tmp_path / "run", **changes), watcher)
    assert any("This is continued pretraining" in line for line in watcher.said)
    for part in ("model", "model/generator"):
        before, after = (runs.weights(run / part) for run in (electra, home))
        assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-6) for name in before)


def test_fine_tuned_it_is_transformers_classifier(electra: Path, labelled: Path, tmp_path: Path) -> None:
    home = runs.done(runs.finetuning(electra, labelled, tmp_path / "run"))
    kind: Any = transformers.ElectraForSequenceClassification
    model, info = kind.from_pretrained(home / "model", output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    (answer,) = Answerer(str(home), precision="fp32").predict([{"text": "The tide turned early."}])
    ids = transformers.AutoTokenizer.from_pretrained(home / "model")("The tide turned early.", return_tensors="pt")
    with torch.no_grad():
        shares = model.eval()(**ids).logits.softmax(-1)[0]
    assert answer["probabilities"] == pytest.approx(
        {model.config.id2label[number]: float(share) for number, share in enumerate(shares)}, abs=1e-6
    )


def test_the_generator_fills_masks_and_the_encoder_does_not(electra: Path) -> None:
    assert len(filler(str(electra / "model" / "generator")).fill("The [MASK] turned.")[0]) == 5
    with pytest.raises(CheckpointError, match="has no head for mlm: it is a ElectraForPreTraining"):
        filler(str(electra))


def test_what_a_checkpoint_without_a_record_is_for(electra: Path, pretrained: Path, tmp_path: Path) -> None:
    both = {ReplacedToken: electra / "model", MaskedLM: electra / "model/generator", Joint: pretrained / "model"}
    for expected, home in both.items():
        copy = tmp_path / expected.__name__
        copy.mkdir()
        for name in ("config.json", "model.safetensors"):
            (copy / name).write_bytes((home / name).read_bytes())
        assert type(task_of_checkpoint(Checkpoint.open(copy))) is expected


def test_a_discriminator_alone_is_refused_with_what_it_lacks(electra: Path, tmp_path: Path) -> None:
    for path in (electra / "model").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(
        CheckpointError, match="has no head for rtd: it is a ElectraForPreTraining and lacks generator/"
    ):
        Answerer(str(tmp_path))


def test_another_architecture_is_refused(store: Path, pretrained: Path, tmp_path: Path) -> None:
    tables = runs.pretraining(store, tmp_path / "run", task="rtd", encoder__arch="bert")
    with pytest.raises(RecipeError, match="rtd is for the architecture electra, not bert: leave out --arch"):
        runs.done(tables)
    tables = runs.pretraining(store, tmp_path / "run", task="rtd", encoder__start=str(pretrained))
    with pytest.raises(RecipeError, match="rtd learns with an ELECTRA encoder, and this is a bert"):
        runs.done(tables)
    assert not (tmp_path / "run").exists()


def test_a_recipes_architecture_gives_way_to_the_objectives() -> None:
    recipe = tables_of("modern")
    assert "arch" not in laid_over(recipe, {"task": "rtd"})["encoder"]
    assert laid_over(recipe, {"task": "rtd", "encoder": {"arch": "bert"}})["encoder"]["arch"] == "bert"
    assert laid_over(recipe, {"task": "mlm"})["encoder"]["arch"] == "modern"
    assert task_of("mlm+nsp", {}).arch == ""
