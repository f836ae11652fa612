"""A disk that is full while a run is saved: one line, what was saved is intact, and with room again the run goes on."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.errors import RunError

Limit = Callable[[int | None], None]
MB = 1_000_000


@pytest.fixture
def limit() -> Iterator[Limit]:
    """Sets the largest file that this process may write, which the system enforces as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def largest(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield largest
    largest(None)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of its own, made or made larger to a size such as `9m`."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(size: str) -> Path:
        remount = "remount," if place.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{remount}size={size}", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
        return place

    yield sized
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def unbroken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("unbroken") / "run"))


def refused(tables: Mapping[str, Any]) -> str:
    with pytest.raises(RunError) as caught:
        runs.done(tables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "checkpoints").iterdir()) if (home / "checkpoints").is_dir() else []


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (3 * MB, "step-00000002"),
        (1 * MB, "step-00000002"),
        (200, "run: cannot be written"),
    ],
)
def test_no_checkpoint_can_be_written(
    store: Path, unbroken: Path, tmp_path: Path, limit: Limit, size: int, what: str
) -> None:
    """The weights are 2.2 MB, the optimizer's state is 4.4 MB, the recipe has 500 bytes."""
    home = tmp_path / "run"
    limit(size)
    said = refused(runs.pretraining(store, home))
    limit(None)
    assert str(home) in said
    assert what in said
    assert saved(home) == []
    assert not list(home.rglob(".*"))
    runs.done(runs.pretraining(store, home))
    assert runs.same_weights(home, unbroken)
    assert runs.metrics(home) == runs.metrics(unbroken)


def test_a_line_of_metrics_cannot_be_written(store: Path, unbroken: Path, tmp_path: Path, limit: Limit) -> None:
    """The lines have 330 bytes and the recipe 900; a part of a line stays in the file."""
    home = tmp_path / "run"
    tables = runs.pretraining(store, home, save__every=6)
    limit(1500)
    assert f"{home}/metrics.jsonl: cannot be written" in refused(tables)
    limit(None)
    assert (home / "metrics.jsonl").stat().st_size == 1500
    runs.done(tables)
    assert runs.same_weights(home, unbroken)
    assert runs.metrics(home) == runs.metrics(unbroken)


def test_the_next_checkpoint_does_not_fit(store: Path, unbroken: Path, disk: Callable[[str], Path]) -> None:
    """Each takes 6.6 MB, and the one before is kept until the next is whole."""
    home = disk("9m") / "run"
    tables = runs.pretraining(store, home)
    said = refused(tables)
    assert f"{home}/checkpoints/step-00000004" in said
    assert "No space left on device" in said
    assert saved(home) == ["step-00000002"]
    before = runs.content(home / "checkpoints")
    assert refused(tables) == said
    assert runs.content(home / "checkpoints") == before
    disk("64m")
    watcher = runs.Watcher()
    runs.done(tables, watcher)
    assert "Going on from step 2 of 6." in watcher.said
    assert runs.same_weights(home, unbroken)
    assert runs.metrics(home) == runs.metrics(unbroken)


def test_the_model_does_not_fit(store: Path, unbroken: Path, disk: Callable[[str], Path]) -> None:
    """A checkpoint takes 6.6 MB, the model 2.2 MB."""
    home = disk("8m") / "run"
    tables = runs.pretraining(store, home, save__every=6)
    said = refused(tables)
    assert str(home) in said
    assert "No space left on device" in said
    assert saved(home) == ["step-00000006"]
    assert not (home / "model").exists()
    disk("64m")
    watcher = runs.Watcher()
    runs.done(tables, watcher)
    assert "Going on from step 6 of 6." in watcher.said
    assert runs.same_weights(home, unbroken)
