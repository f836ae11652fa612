"""The same run from several seeds."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import runs

from bertwright.errors import RecipeError, RunError
from bertwright.run.intervals import of_mean
from bertwright.run.provenance import Provenance
from bertwright.run.run import Stopped
from bertwright.run.several import several, written
from bertwright.run.spec import Recipe


@pytest.fixture
def tables(pretrained: Path, labelled: Path, tmp_path: Path) -> dict[str, Any]:
    return runs.finetuning(pretrained, labelled, tmp_path / "out", train__lr=2e-3, train__steps=6, seed=3)


def heldout(home: Path) -> dict[str, float]:
    record = Provenance.read(home / "model")
    assert record is not None
    return dict(record.heldout)


def test_each_seed_is_the_run_that_it_would_be_alone(tables: dict[str, Any], tmp_path: Path) -> None:
    summary = several(Recipe.of(tables), 3, runs.Watcher())
    assert summary.seeds == [3, 4, 5]
    assert summary.runs == [str(tmp_path / "out" / f"seed-{seed}") for seed in (3, 4, 5)]
    assert runs.same_weights(runs.done(tables | {"out": str(tmp_path / "alone"), "seed": 4}), Path(summary.runs[1]))
    reports = [heldout(Path(home)) for home in summary.runs]
    for name, found in summary.measures.items():
        values = [report[name] for report in reports]
        assert found["values"] == values
        assert (found["mean"], found["low"], found["high"]) == of_mean(values)
        assert found["mean"] == pytest.approx(mean(values))
    accuracies = summary.measures["classify.accuracy"]["values"]
    assert summary.best == summary.runs[accuracies.index(max(accuracies))]
    assert json.loads((tmp_path / "out" / "seeds.json").read_text(encoding="utf-8")) == summary.facts()
    table = list(written(summary))
    assert table[0].split()[-2:] == ["seed", "5"]
    assert table[-1] == f"best: {summary.best}"
    assert {line.split()[0] for line in table[1:-1]} == set(reports[0])


def test_stopped_and_started_again_with_more(tables: dict[str, Any], tmp_path: Path) -> None:
    watcher, stop = runs.stopping_at(3)
    with pytest.raises(Stopped, match="stopped at step 3"):
        several(Recipe.of(tables), 2, watcher, stop)
    two = several(Recipe.of(tables), 2, runs.Watcher())
    watcher = runs.Watcher()
    three = several(Recipe.of(tables), 3, watcher)
    assert sum("is finished; nothing to do" in line for line in watcher.said) == 2
    for name, found in two.measures.items():
        assert found["values"] == three.measures[name]["values"][:2]
    whole = several(Recipe.of(tables | {"out": str(tmp_path / "whole")}), 3, runs.Watcher())
    assert whole.measures == three.measures


def test_a_single_seed_has_no_interval(tables: dict[str, Any]) -> None:
    summary = several(Recipe.of(tables), 1, runs.Watcher())
    assert {(found["low"], found["high"]) for found in summary.measures.values()} == {(None, None)}
    assert "to" not in list(written(summary))[1].split()


def test_what_is_refused(tables: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="at least 1, not 0"):
        several(Recipe.of(tables), 0, runs.Watcher())
    runs.done(tables)
    with pytest.raises(RunError, match="holds a single run; runs from several seeds need another --out"):
        several(Recipe.of(tables), 2, runs.Watcher())
