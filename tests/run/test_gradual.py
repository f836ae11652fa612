"""Gradual unfreezing, rates that fall with depth and early stopping: in a recipe, and resumed bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.run.provenance import Provenance

Refused = Callable[..., str]
GRADUAL = {
    "train__steps": 9,
    "train__dropout": 0.1,
    "train__unfreeze": 0.7,
    "train__layer_decay": 0.8,
    "evaluate__every": 2,
    "save__every": 2,
    "save__model": "last",
}


def upside_down(folder: Path) -> Path:
    """Rows to judge by whose labels are the wrong way round: what has learned least is the best."""
    return runs.write_rows(folder / "dev.jsonl", runs.rows(30, seed=9, labels=("сад", "sea")))


def judged(home: Path) -> list[int]:
    return [line["step"] for line in runs.metrics(home) if "heldout" in line]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_killed_and_started_again(pretrained: Path, labelled: Path, tmp_path: Path, optimizer: str) -> None:
    def tables(name: str) -> dict[str, Any]:
        return runs.finetuning(pretrained, labelled, tmp_path / name, train__optimizer=optimizer, **GRADUAL)

    unbroken = runs.done(tables("unbroken"))
    for step in (3, 5, 8):
        with pytest.raises(runs.Killed):
            runs.done(tables("broken"), runs.killed_at(step))
    broken = runs.done(tables("broken"))
    assert runs.metrics(broken) == runs.metrics(unbroken)
    assert runs.same_weights(broken, unbroken)


@pytest.mark.parametrize("change", [{"train__unfreeze": 0.0}, {"train__layer_decay": 1.0}])
def test_each_setting_makes_another_model(
    pretrained: Path, labelled: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    one, other = (
        runs.done(runs.finetuning(pretrained, labelled, tmp_path / name, **GRADUAL | changes))
        for name, changes in (("one", {}), ("other", change))
    )
    assert not runs.same_weights(one, other)


def test_layers_that_have_not_thawed_are_those_of_the_start(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    """Of the two stages that two steps reach, the second lets the last layer train."""
    changes = {"train__steps": 2, "train__horizon": 4, "train__unfreeze": 1.0, "train__lr": 1e-2, "save__model": "last"}
    home = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "run", **changes))
    before, after = (runs.weights(folder / "model") for folder in (pretrained, home))
    moved = {name for name in before.keys() & after.keys() if not before[name].equal(after[name])}
    assert {name for name in moved if ".layer.1." in name}
    assert not {name for name in moved if ".layer.0." in name or "embeddings" in name}
    record = Provenance.read(home / "model")
    assert record is not None
    assert not any(tensor.frozen for tensor in record.tensors)


def test_a_task_without_weights_of_its_own(pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused) -> None:
    """The last layer begins; frozen as a whole, there is nothing to train."""
    pairs = [{"text_a": row["text"], "text_b": row["text"]} for row in runs.rows(24)]
    rows = runs.write_rows(tmp_path / "pairs.jsonl", pairs)
    said = refused(runs.finetuning(pretrained, rows, tmp_path / "frozen", task="embed", encoder__freeze="encoder"))
    assert said == "nothing would train: embed has no weights of its own, and the encoder is frozen"
    home = runs.done(runs.finetuning(pretrained, rows, tmp_path / "run", task="embed", train__unfreeze=1.0))
    before, after = (runs.weights(folder / "model") for folder in (pretrained, home))
    assert any(not before[name].equal(after[name]) for name in before.keys() & after.keys() if ".layer.1." in name)


def test_it_ends_when_it_gets_no_better(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    changes = {"data__dev": str(upside_down(tmp_path)), "train__steps": 40, "train__lr": 2e-3, "evaluate__every": 4}
    watcher = runs.Watcher()
    home = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "run", train__patience=2, **changes), watcher)
    record = Provenance.read(home / "model")
    assert record is not None
    scores = [line["heldout"]["classify.accuracy"] for line in runs.metrics(home) if "heldout" in line]
    last = judged(home)[-1]
    assert last < 40
    assert record.step == last - 8
    assert max(scores) == scores[-3] == record.heldout["classify.accuracy"]
    assert f"No better for 2 judgements: stopped at step {last} of 40." in watcher.said
    patient = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "patient", train__patience=99, **changes))
    assert judged(patient)[-1] == 40


@pytest.mark.parametrize("save_every", [3, 4])
def test_patience_outlives_a_kill(pretrained: Path, labelled: Path, tmp_path: Path, save_every: int) -> None:
    def tables(name: str) -> dict[str, Any]:
        changes = {"train__steps": 40, "train__lr": 2e-3, "evaluate__every": 2, "train__patience": 3}
        dev = {"data__dev": str(upside_down(tmp_path)), "save__every": save_every}
        return runs.finetuning(pretrained, labelled, tmp_path / name, **changes, **dev)

    unbroken = runs.done(tables("unbroken"))
    last = judged(unbroken)[-1]
    for step in (2, last - 3, last - 2, last - 1, last):
        with pytest.raises(runs.Killed):
            runs.done(tables("broken"), runs.killed_at(step))
    broken = runs.done(tables("broken"))
    assert runs.metrics(broken) == runs.metrics(unbroken)
    assert runs.same_weights(broken, unbroken)


def test_a_run_that_gave_up_is_finished_by_the_same_command(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    """Killed after its last checkpoint, before the model was written."""
    changes = {"data__dev": str(upside_down(tmp_path)), "train__steps": 40, "train__lr": 2e-3, "train__patience": 1}
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run", **changes, save__every=1)
    home = runs.done(tables)
    model = (home / "model" / "model.safetensors").read_bytes()
    before = runs.metrics(home)
    for path in (home / "model").iterdir():
        path.unlink()
    (home / "model").rmdir()
    assert (runs.done(tables) / "model" / "model.safetensors").read_bytes() == model
    assert runs.metrics(home) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train__patience": 0}, "train.patience is at least 1, not 0"),
        ({"train__layer_decay": 0.0}, "train.layer_decay is a factor above 0 and up to 1, not 0.0"),
        ({"train__layer_decay": 1.1}, "up to 1, not 1.1"),
        ({"train__unfreeze": 1.5}, "train.unfreeze is a share from 0 to 1, not 1.5"),
    ],
)
def test_out_of_range(
    refused: Refused, pretrained: Path, labelled: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    assert why in refused(runs.finetuning(pretrained, labelled, tmp_path / "run", **change))
