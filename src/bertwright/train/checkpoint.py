"""Which checkpoints a run's folder holds, and which of them are kept."""

from __future__ import annotations

import shutil
from pathlib import Path


def folder_of(home: Path, step: int) -> Path:
    """Where the checkpoint of a step lies in a run's folder."""
    return home / "checkpoints" / f"step-{step:08d}"


def saved(home: Path) -> list[Path]:
    """A run's checkpoints, oldest first."""
    return sorted((home / "checkpoints").glob("step-*"))


def prune(home: Path, *, keep: int, best: int | None) -> None:
    """Removes all checkpoints but the last `keep` and the best one, and what killed processes left half-written."""
    spared = {folder.name for folder in saved(home)[-keep:]}
    if best is not None:
        spared.add(folder_of(home, best).name)
    for folder in (home / "checkpoints").glob("*step-*"):
        if folder.name not in spared:
            shutil.rmtree(folder)
