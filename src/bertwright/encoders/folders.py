"""Which folder of weights a name stands for: a run, a folder, or a model of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_SHOWN = 6


def checkpoint_folder(name: str, **hub: Any) -> Path:
    """The folder that a name stands for: a run's final model, else its last checkpoint; a folder; a Hub name.

    `hub` says how it is had from the Hub, as `revision`. Raises CheckpointError when there is none.
    """
    path = Path(name)
    if path.is_dir() and "revision" in hub:
        raise CheckpointError(f"{path} is a folder, which has no revisions; leave out revision={hub['revision']!r}")
    if (path / "model" / "config.json").is_file():
        return path / "model"
    if (path / "asked.toml").is_file() or (path / "checkpoints").is_dir():
        saved = sorted((path / "checkpoints").glob("step-*"))
        if not saved:
            raise CheckpointError(f"{path} is a run that has not saved a checkpoint yet")
        return saved[-1]
    if path.is_dir() or not _is_hub_name(name):
        if not path.is_dir():
            raise CheckpointError(
                f"{path}: no such folder{_meant(path)}; a checkpoint is a run, a folder with config.json, or a Hub name"
            )
        _refuse_others(path)
        return path
    return _downloaded(name, hub)


def _refuse_others(path: Path) -> None:
    """Raises CheckpointError for a token store, and for a folder of runs."""
    if (path / "config.json").is_file():
        return
    if (path / "manifest.json").is_file():
        raise CheckpointError(
            f"{path} is a token store; `bertwright pretrain {path} --out RUN` makes a checkpoint of it"
        )
    if runs := sorted(str(one.parent) for one in path.glob("*/asked.toml")):
        more = ", ..." if len(runs) > _SHOWN else ""
        raise CheckpointError(f"{path} is a folder of runs; choose one of them: {', '.join(runs[:_SHOWN])}{more}")


def _meant(path: Path) -> str:
    """A folder beside it that is called almost the same."""
    beside = [one.name for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, 1)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 2 and all(parts) and not name.startswith((".", "/", "~"))


def _downloaded(name: str, hub: Mapping[str, Any]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, **hub))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        offline = isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled)
        reason = "no connection, or HF_HUB_OFFLINE is set" if offline else str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{name}: no such folder here{_meant(Path(name))}, and not to be had from the Hub ({reason})"
        ) from error
