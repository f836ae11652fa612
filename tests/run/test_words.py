"""Runs whose words start from counts: what they say of it, that they go on to the same weights, and who may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import runs

from bertwright.errors import RecipeError
from bertwright.run.drawing import draw
from bertwright.run.provenance import FILE, Provenance

Refused = Callable[..., str]
COUNTED = {"encoder__words": "counted", "encoder__arch": "modern", "task": "mlm"}


@pytest.fixture(scope="module")
def counted(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("counted") / "run", **COUNTED))


def test_it_is_said(counted: Path) -> None:
    record = Provenance.read(counted / "model")
    assert record is not None
    assert "weights drawn at random (seed 1), words as counted in the text." in record.sentence()
    assert record.sentence().endswith("This is pretraining from scratch.")
    assert [tensor.name for tensor in record.tensors if tensor.counted] == ["model.embeddings.tok_embeddings.weight"]
    assert "│ embeddings  words counted, trains" in draw(record.tensors)
    assert record.sentence() in (counted / "model" / "README.md").read_text("utf-8")
    assert 'words = "counted"' in (counted / "recipe.toml").read_text("utf-8")


def test_it_starts_ahead_of_drawn_words(store: Path, counted: Path, tmp_path: Path) -> None:
    drawn = runs.done(runs.pretraining(store, tmp_path / "drawn", **COUNTED | {"encoder__words": "drawn"}))
    ours, theirs = (
        [line["heldout"]["mlm.loss"] for line in runs.metrics(home) if "heldout" in line] for home in (counted, drawn)
    )
    assert len(ours) == 2
    assert all(mine < other - 1 for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_run_comes_to_the_same_weights(store: Path, counted: Path, tmp_path: Path, step: int) -> None:
    """Killed before its first checkpoint and after it."""
    tables = runs.pretraining(store, tmp_path / "run", **COUNTED)
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(step))
    assert runs.same_weights(runs.done(tables), counted)


def test_an_encoder_that_is_loaded_keeps_its_words(store: Path, counted: Path, tmp_path: Path) -> None:
    start = {"encoder__start": str(counted), "train__steps": 1, "task": "mlm"}
    asked, not_asked = (
        runs.done(runs.pretraining(store, tmp_path / words, **start, encoder__words=words))
        for words in ("counted", "drawn")
    )
    assert runs.same_weights(asked, not_asked)
    record = Provenance.read(asked / "model")
    assert record is not None
    assert "words as counted" not in record.sentence()


def test_rows_have_no_text_to_count(pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused) -> None:
    tables = runs.finetuning(
        "scratch", labelled, tmp_path / "run", encoder__words="counted", encoder__like=str(pretrained)
    )
    said = refused(tables, RecipeError)
    assert "encoder.words is 'counted', which takes the text of a token store" in said
    assert "task classify learns from rows" in said


def test_another_word_is_refused(store: Path, tmp_path: Path, refused: Refused) -> None:
    tables = runs.pretraining(store, tmp_path / "run", encoder__words="guessed")
    assert refused(tables, RecipeError) == "encoder.words is drawn or counted, not 'guessed'"


def test_runs_from_before_words_could_be_counted_have_the_ids_they_had(pretrained: Path, tmp_path: Path) -> None:
    fields = json.loads((pretrained / "model" / FILE).read_text("utf-8"))
    for tensor in fields["tensors"]:
        assert tensor.pop("counted") is False
    (tmp_path / FILE).write_text(json.dumps(fields), "utf-8")
    record = Provenance.read(tmp_path)
    assert record is not None
    made_from = {key: x for key, x in fields.items() if key not in ("run", "kind", "says")}
    made_from |= {"step": 0, "heldout": {}, "versions": {}}
    assert record.run == sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
