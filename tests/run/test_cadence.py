"""How often a run is judged and logged, where its recipe does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.run import training
from bertwright.run.spec import Recipe


def steps_with(home: Path, key: str) -> list[int]:
    return [line["step"] for line in runs.metrics(home) if key in line]


@pytest.mark.parametrize("how_long", [{"train__steps": 9}, {"train__steps": None, "train__epochs": 3.0}])
def test_rows_are_judged_once_an_epoch(pretrained: Path, tmp_path: Path, how_long: dict[str, Any]) -> None:
    train, dev = (runs.write_rows(tmp_path / f"{n}.jsonl", runs.rows(24, seed=n)) for n in (3, 4))
    changes = {"data__dev": str(dev), "train__batch_size": 8, "evaluate__every": None}
    home = runs.done(runs.finetuning(pretrained, train, tmp_path / "run", **changes, **how_long))
    assert steps_with(home, "heldout") == [3, 6, 9]


def test_text_is_judged_by_steps(store: Path, tmp_path: Path) -> None:
    changes = {"train__steps": None, "train__epochs": 2.0, "train__batch_size": 64, "evaluate__every": None}
    home = runs.done(runs.pretraining(store, tmp_path / "run", **changes, save__every=None))
    recipe = Recipe.read(home / "recipe.toml")
    assert recipe.evaluate.every == recipe.save.every == 100
    assert steps_with(home, "heldout") == [recipe.train.steps]


def test_a_run_logs_at_most_so_many_lines(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_LINES", 4)
    home = runs.done(runs.pretraining(store, tmp_path / "run", train__steps=6))
    assert steps_with(home, "lr") == [2, 4, 6]
