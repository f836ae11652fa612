"""A run that was broken off comes to the same weights and the same metrics as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.errors import RunError
from bertwright.run.run import Stop, Stopped

Refused = Callable[..., str]
PIECEMEAL = {
    "train__steps": 9,
    "train__dropout": 0.1,
    "train__micro_tokens": 64,
    "evaluate__every": 2,
    "save__every": 3,
}
"""Dropout, and several forward passes a step."""


@pytest.fixture(scope="module")
def unbroken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("unbroken") / "run", **PIECEMEAL))


@pytest.fixture
def tables(store: Path, tmp_path: Path) -> dict[str, Any]:
    return runs.pretraining(store, tmp_path / "run", **PIECEMEAL)


def stopped(tables: dict[str, Any], step: int) -> None:
    with pytest.raises(Stopped, match=f"stopped at step {step}; the same command goes on from there"):
        runs.done(tables, *runs.stopping_at(step))


def killed(tables: dict[str, Any], step: int) -> None:
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(step))


def saved(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "checkpoints").iterdir())


def equal(mine: Path, theirs: Path) -> bool:
    assert runs.metrics(mine) == runs.metrics(theirs)
    return runs.same_weights(mine, theirs)


def test_the_run_has_several_forward_passes_a_step(store: Path, unbroken: Path, tmp_path: Path) -> None:
    whole = runs.done(runs.pretraining(store, tmp_path / "whole", **PIECEMEAL | {"train__micro_tokens": 8192}))
    first, other = (runs.metrics(home)[0] for home in (unbroken, whole))
    assert first["mlm.loss"] == pytest.approx(other["mlm.loss"], rel=0.05)
    assert first["grad_norm"] != other["grad_norm"]


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 9])
def test_killed_and_started_again(tables: dict[str, Any], unbroken: Path, step: int) -> None:
    killed(tables, step)
    watcher = runs.Watcher()
    assert equal(runs.done(tables, watcher), unbroken)
    done = 3 * ((step - 1) // 3)
    assert watcher.steps[0] == done + 1
    assert (f"Going on from step {done} of 9." in watcher.said) == (done > 0)


def test_killed_again_and_again(tables: dict[str, Any], unbroken: Path) -> None:
    for step in (2, 5, 6, 5, 8, 7):
        killed(tables, step)
    assert equal(runs.done(tables), unbroken)


@pytest.mark.parametrize("step", [1, 4, 6, 8])
def test_stopped_and_started_again(tables: dict[str, Any], unbroken: Path, step: int) -> None:
    stopped(tables, step)
    home = Path(tables["out"])
    assert saved(home)[-1] == f"step-{step:08d}"
    assert not (home / "model").exists()
    assert equal(runs.done(tables), unbroken)


def test_asked_to_stop_before_the_first_step(tables: dict[str, Any], unbroken: Path) -> None:
    stop = Stop()
    stop.asked = True
    with pytest.raises(Stopped, match="stopped at step 1;"):
        runs.done(tables, stop=stop)
    assert equal(runs.done(tables), unbroken)


def test_asked_to_stop_at_the_last_step_it_finishes(tables: dict[str, Any], unbroken: Path) -> None:
    assert equal(runs.done(tables, *runs.stopping_at(9)), unbroken)


def test_lines_that_sum_over_several_steps_are_the_same(store: Path, tmp_path: Path) -> None:
    """Of 2,000 steps every fourth is logged, with what was learned since the one before; every third is saved."""
    broken, unbroken = (
        runs.pretraining(store, tmp_path / name, train__steps=2000, evaluate__every=1000, save__every=3)
        for name in ("broken", "unbroken")
    )
    killed(broken, 8)
    assert saved(tmp_path / "broken") == ["step-00000003", "step-00000006"]
    stopped(broken, 12)
    stopped(unbroken, 12)
    lines = runs.metrics(tmp_path / "broken")
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert lines == runs.metrics(tmp_path / "unbroken")


def test_the_best_checkpoint_survives_a_kill(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    def tables(name: str) -> dict[str, Any]:
        long_enough = {"train__steps": 16, "train__lr": 2e-3, "evaluate__every": 2, "save__every": 5, "save__keep": 1}
        return runs.finetuning(pretrained, labelled, tmp_path / name, **long_enough)

    unbroken = runs.done(tables("unbroken"))
    for step in (4, 9, 14):
        killed(tables("broken"), step)
    assert equal(runs.done(tables("broken")), unbroken)
    assert saved(tmp_path / "broken") == saved(unbroken)


def test_a_cut_off_line_of_metrics_does_no_harm(tables: dict[str, Any], unbroken: Path) -> None:
    killed(tables, 5)
    with open(Path(tables["out"]) / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 5, "mlm.lo')
    assert equal(runs.done(tables), unbroken)


def test_what_a_kill_left_half_written_is_ignored_and_cleared(tables: dict[str, Any], unbroken: Path) -> None:
    killed(tables, 5)
    home = Path(tables["out"])
    shutil.copytree(home / "checkpoints" / "step-00000003", home / "checkpoints" / ".step-00000006.partial")
    (home / "checkpoints" / ".step-00000006.partial" / "model.safetensors").write_bytes(b"half")
    (home / "checkpoints" / ".step-00000005.partial").mkdir()
    (home / ".model.partial").mkdir()
    (home / ".model.partial" / "config.json").write_text("{")
    assert equal(runs.done(tables), unbroken)
    assert saved(home) == saved(unbroken)
    assert sorted(path.name for path in home.iterdir()) == sorted(path.name for path in unbroken.iterdir())


def test_killed_before_the_first_file_was_written(tables: dict[str, Any], unbroken: Path) -> None:
    home = Path(tables["out"])
    home.mkdir()
    (home / ".asked.toml.partial").write_text("out = ")
    assert equal(runs.done(tables), unbroken)


def test_killed_between_the_first_two_files(tables: dict[str, Any], unbroken: Path) -> None:
    killed(tables, 2)
    home = Path(tables["out"])
    for path in home.iterdir():
        if path.name != "asked.toml":
            path.unlink()
    assert equal(runs.done(tables), unbroken)


def test_a_damaged_checkpoint_is_named_and_can_be_removed(
    tables: dict[str, Any], unbroken: Path, refused: Refused
) -> None:
    killed(tables, 8)
    last = Path(tables["out"]) / "checkpoints" / "step-00000006"
    for name in ("optimizer.safetensors", "state.json", "model.safetensors"):
        whole = (last / name).read_bytes()
        (last / name).write_bytes(whole[: len(whole) // 2])
        assert str(last) in refused(tables)
        (last / name).write_bytes(whole)
    (last / "optimizer.safetensors").unlink()
    assert refused(tables, RunError).endswith("remove it, and the run goes on from the one before")
    shutil.rmtree(last)
    watcher = runs.Watcher()
    assert equal(runs.done(tables, watcher), unbroken)
    assert "Going on from step 3 of 9." in watcher.said


def test_a_finished_run_has_nothing_to_do(tables: dict[str, Any], unbroken: Path) -> None:
    before = runs.content(unbroken)
    watcher = runs.Watcher()
    assert runs.done(tables | {"out": str(unbroken)}, watcher) == unbroken
    assert watcher.said == [f"{unbroken} is finished; nothing to do."]
    assert runs.content(unbroken) == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_is_refused(tables: dict[str, Any], finished: bool, refused: Refused) -> None:
    if finished:
        runs.done(tables)
    else:
        killed(tables, 5)
    other = {**tables, "seed": 7, "train": {**tables["train"], "steps": 10}}
    said = refused(other, RunError)
    assert "holds another run (seed: 7 here, 1 there; train.steps: 10 here, 9 there)" in said
    assert "choose another --out" in said


def test_a_run_that_differs_in_much_is_told_apart_in_a_line(
    tables: dict[str, Any], pretrained: Path, labelled: Path, refused: Refused
) -> None:
    killed(tables, 5)
    home = Path(tables["out"])
    begun, now = tables["task"], "classify"
    said = refused(runs.finetuning(pretrained, labelled, home), RunError)
    assert said == f"{home} holds another run ({now} here, {begun} there); choose another --out, or remove it"
    many = {"seed": 7, "data": {**tables["data"], "length": 16}, "encoder": {**tables["encoder"], "init": "normal"}}
    said = refused({**tables, **many, "train": {**tables["train"], "clip": 0.5, "warmup": 0.2}}, RunError)
    assert said.count(" here, ") == 3
    assert "; and 2 more); choose another --out" in said


def test_a_folder_with_something_else_is_refused(tables: dict[str, Any], refused: Refused) -> None:
    home = Path(tables["out"])
    home.mkdir()
    (home / "дневник.txt").write_text("моё", encoding="utf-8")
    assert "exists and is not a run; choose another --out" in refused(tables, RunError)
    shutil.rmtree(home)
    home.write_text("a file")
    assert "exists and is not a run" in refused(tables, RunError)
    assert home.read_text() == "a file"


def test_an_empty_folder_is_taken(tables: dict[str, Any], unbroken: Path) -> None:
    Path(tables["out"]).mkdir()
    assert equal(runs.done(tables), unbroken)


def test_another_store_in_the_same_place_is_refused(tables: dict[str, Any], tmp_path: Path, refused: Refused) -> None:
    tables["data"]["store"] = str(runs.make_store(tmp_path, runs.documents(24)))
    killed(tables, 5)
    shutil.rmtree(tmp_path / "store")
    runs.make_store(tmp_path, runs.documents(24)[:-1])
    assert "the data, the start or the own code of this run has changed since it began" in refused(tables, RunError)


@pytest.mark.parametrize("as_folder", [False, True])
def test_other_rows_in_the_same_place_are_refused(
    pretrained: Path, tmp_path: Path, refused: Refused, as_folder: bool
) -> None:
    (tmp_path / "rows").mkdir()
    path = runs.write_rows(tmp_path / "rows" / "train.csv", runs.rows())
    tables = runs.finetuning(pretrained, path.parent if as_folder else path, tmp_path / "run")
    killed(tables, 3)
    runs.write_rows(path, [*runs.rows()[:-1], {"text": "The tide again.", "label": "sea"}])
    assert "the data, the start or the own code of this run has changed since it began" in refused(tables, RunError)
    runs.write_rows(path, runs.rows())
    assert runs.done(tables) == tmp_path / "run"
