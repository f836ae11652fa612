"""Token ids in memory-mapped folders beside the text that they are of.

    corpus.txt
    corpus.txt.bertwright/
        lock
        CONTENT-KIND-SETTINGS/      manifest.json, and a part of a token store: tokens.bin outline.bin index.bin

CONTENT is the beginning of the text's sha256: when the text has changed, what is of its old content is removed. One
process writes, others wait for it; a folder is there whole or not at all. Where nothing can be written beside the text,
the folder is a temporary one, which goes when the process ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..data.store import Part
from ..data.writer import HashedFile, PartWriter, dtype_for
from ..errors import InputError, StoreError
from ..files import whole_folder
from ..flow import Vocabulary

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same work twice
    fcntl = None

CACHE = ".bertwright"
"""What is added to the name of a text for that of the folder of its ids."""
_PART = "text"
_FILES = ("tokens", "outline", "index", "labels")

Fill = Callable[[PartWriter, HashedFile], None]
"""Adds documents to a part, and a byte for each to a file of labels where they have one."""


class Text(NamedTuple):
    """The files of a corpus, the sha256 of all they hold, and where what is made of them is kept."""

    files: tuple[Path, ...]
    sha256: str
    folder: Path


def text_at(path: Path, files: tuple[Path, ...], cache_dir: str | os.PathLike[str] | None = None) -> Text:
    """Reads the files through, which `path` means, and finds a place for what is made of them. Raises InputError."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None
    place = Path(os.path.abspath(path))
    elsewhere = f"{place.name}.{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}{CACHE}"
    beside = Path(cache_dir) / elsewhere if cache_dir is not None else place.with_name(f"{place.name}{CACHE}")
    folder = beside if _writable(beside) else Path(_temporary()) / elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    return Text(files, digest.hexdigest(), folder)


def mapped(text: Text, kind: str, settings: Mapping[str, Any], size: int, fill: Fill, *, anew: bool = False) -> Path:
    """The folder of a part of a token store that `fill` makes of the text, made if it is not there, or `anew`.

    `kind` and `settings` are all that it depends on besides the text; `size` is that of the vocabulary.
    """
    said = json.dumps([__version__, dict(settings)], sort_keys=True)
    name = f"{text.sha256[:16]}-{kind}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    out = text.folder / name
    with _alone(text.folder):
        if anew or not _complete(out):
            _remove_stale(text)
            _write(out, size, fill)
    return out


def part_at(folder: Path, vocabulary: Callable[[], Vocabulary]) -> tuple[Part, np.ndarray]:
    """The part in a folder that `mapped` made, and its labels, one byte a document or none. Raises StoreError."""
    if not _complete(folder):
        raise StoreError(f"{folder}: the tokens are gone, as the text has changed since; make the dataset again")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    labels = folder / _PART / "labels.bin"
    held = np.memmap(labels, np.uint8, "r") if labels.stat().st_size else np.zeros(0, np.uint8)
    return Part(folder, manifest, _PART, vocabulary), np.asarray(held)


def _write(out: Path, size: int, fill: Fill) -> None:
    with whole_folder(out) as folder:
        (folder / _PART).mkdir()
        files = {name: HashedFile(folder / _PART / f"{name}.bin") for name in _FILES}
        dtype = dtype_for(size)
        part = PartWriter(files, dtype)
        try:
            fill(part, files["labels"])
            part.end()
        except BaseException:
            for file in files.values():
                file.abandon()
            raise
        for file in files.values():
            file.close()
        manifest = {
            "dtype": dtype.name,
            "parts": {_PART: {"documents": part.documents, "sentences": part.sentences, "tokens": part.tokens}},
            "files": {f"{_PART}/{name}.bin": file.bytes for name, file in files.items()},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _complete(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remove_stale(text: Text) -> None:
    """Removes what is of another content of the same text; nothing else in the folder is touched."""
    for folder in text.folder.iterdir():
        if not folder.name.startswith(text.sha256[:16]) and (folder / "manifest.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "a"):
            return True
    return False


@cache
def _temporary_directory() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="bertwright-tokens-")


def _temporary() -> str:
    return _temporary_directory().name
