"""Plain text as the datasets read it: lines, documents of lines, pieces; and these as the ids of a part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data.writer import PartWriter
from ..errors import InputError
from ..text.sources import Source, Tally, lines, opened, reporting
from .cache import CACHE

Stream = Iterable[str | None]
"""Lines of text, and None where a document ends."""

_BATCH = 1 << 18
"""Characters that are encoded at a time."""
_PIECE = 1 << 14
_OPENING, _CLOSING = "<doc id=", "</doc>"


def file_at(given: str | os.PathLike[str], name: str) -> Path:
    """A file with something in it. Raises InputError for what is not one; `name` is the argument's."""
    path = Path(given)
    if path.is_dir():
        raise InputError(f"{path}: {name} is a folder; accepted is one text file in UTF-8")
    if not path.is_file():
        raise InputError(f"{path}: {name} is not there; accepted is one text file in UTF-8")
    if not path.stat().st_size:
        raise InputError(f"{path}: {name} is empty")
    return path


def files_in(given: str | os.PathLike[str], name: str) -> tuple[Path, ...]:
    """The files of a folder and of those in it, sorted. Raises InputError where there are none."""
    folder = Path(given)
    if not folder.is_dir():
        found = "is a file" if folder.is_file() else "is not there"
        raise InputError(f"{folder}: {name} {found}; accepted is a folder of text files in UTF-8")
    found = tuple(path for path in sorted(folder.rglob("*")) if path.is_file() and _is_text(path.relative_to(folder)))
    filled = tuple(path for path in found if path.stat().st_size)
    if not filled:
        raise InputError(f"{folder}: {name} holds no file with text")
    return filled


def _is_text(path: Path) -> bool:
    """Whether a file in a folder is neither hidden nor in the cache of another one's ids."""
    return not path.name.startswith(".") and not any(folder.endswith(CACHE) for folder in path.parts[:-1])


def by_line(files: Sequence[Path]) -> Stream:
    """Each line that is not blank is a document of its own."""
    for line in _lines(files):
        if line := line.strip():
            yield line
            yield None


def by_blank_line(files: Sequence[Path]) -> Stream:
    """A sentence a line, blank lines between documents."""
    for file in files:
        for line in _lines([file]):
            yield line.strip() or None
        yield None


def by_article(files: Sequence[Path]) -> Stream:
    """A sentence a line, articles between `<doc id=...>` and `</doc>`, the first line of each, its title, left out.

    That is how WikiExtractor writes; a file without such marks is read as `by_blank_line` does.
    """
    for file in files:
        inside = marked = False
        title = False
        for line in _lines([file]):
            if _OPENING in line:
                inside = marked = title = True
            elif _CLOSING in line:
                inside = False
                yield None
            elif title:
                title = False
            elif inside and (line := line.strip()):
                yield line
        if not marked:
            yield from by_blank_line([file])


def by_piece(files: Sequence[Path]) -> Stream:
    """The text in pieces of some ten thousand characters, whole lines with their ends."""
    piece: list[str] = []
    size = 0
    for line in _lines(files):
        piece.append(line + "\n")
        size += len(piece[-1])
        if size >= _PIECE:
            yield "".join(piece)
            yield None
            piece, size = [], 0
    yield "".join(piece)
    yield None


def write(stream: Stream, encode: Callable[[list[str]], list[np.ndarray]], part: PartWriter) -> None:
    """Adds the documents of a stream to a part, without lines in which no token is found."""
    document: list[np.ndarray] = []
    for batch in _batches(stream):
        encoded = iter(encode([line for line in batch if line is not None]))
        for line in batch:
            if line is not None:
                ids = next(encoded)
                document += [ids] if len(ids) else []
            elif document:
                part.add(np.concatenate(document), np.array([len(ids) for ids in document]))
                document = []


def _batches(stream: Stream) -> Iterator[list[str | None]]:
    batch: list[str | None] = []
    size = 0
    for line in stream:
        batch.append(line)
        size += len(line or "")
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        source = Source(name=str(file), path=file, kind="")
        with reporting(source.name), opened(source) as (stream, _):
            yield from lines(stream, source.name, Tally(), strict=True)
