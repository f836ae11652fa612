"""Which checkpoints are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertwright.train.checkpoint import folder_of, prune, saved


def home_with(home: Path, *steps: int) -> Path:
    for step in steps:
        folder_of(home, step).mkdir(parents=True)
        (folder_of(home, step) / "model.safetensors").write_text(str(step))
    return home


def steps_of(home: Path) -> list[int]:
    return [int((folder / "model.safetensors").read_text()) for folder in saved(home)]


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    assert saved(tmp_path) == []
    prune(tmp_path, keep=1, best=None)
    prune(tmp_path, keep=1, best=5)


def test_checkpoints_come_oldest_first(tmp_path: Path) -> None:
    """By their number, where names alone would put 1000 before 200; what is being written does not count."""
    home = home_with(tmp_path, 1000, 5, 200, 12_345_678, 30)
    (home / "checkpoints" / ".step-00000040.partial").mkdir()
    (home / "checkpoints" / ".step-00000040.old").mkdir()
    assert steps_of(home) == [5, 30, 200, 1000, 12_345_678]


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (1, None, [50]),
        (2, None, [40, 50]),
        (9, None, [10, 20, 30, 40, 50]),
        (1, 20, [20, 50]),
        (2, 10, [10, 40, 50]),
        (2, 50, [40, 50]),
        (1, 35, [50]),
    ],
)
def test_the_last_and_the_best_are_kept(tmp_path: Path, keep: int, best: int | None, left: list[int]) -> None:
    home = home_with(tmp_path, 10, 20, 30, 40, 50)
    prune(home, keep=keep, best=best)
    assert steps_of(home) == left


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 10**7), min_size=1, max_size=8), st.integers(1, 9), st.data())
def test_pruning_again_changes_nothing(tmp_path_factory, steps: set[int], keep: int, data: st.DataObject) -> None:
    home = home_with(tmp_path_factory.mktemp("home"), *steps)
    best = data.draw(st.sampled_from([None, *sorted(steps)]))
    prune(home, keep=keep, best=best)
    left = steps_of(home)
    assert left == sorted({*sorted(steps)[-keep:], *([] if best is None else [best])})
    prune(home, keep=keep, best=best)
    assert steps_of(home) == left
