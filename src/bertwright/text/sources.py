"""Which files a person means by an INPUT, and their lines as text.

An INPUT is a file, a folder (walked in sorted order), a glob, `-` (standard input) or `hf:NAME[:CONFIG][@SPLIT]` (a Hub
data set). Kinds of file: .txt .jsonl .csv .tsv .parquet, each also packed as .gz or .zst.
"""

from __future__ import annotations

import glob
import io
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from ..errors import InputError
from .compression import BUFFER, DAMAGE, packing_of, unpacked

KINDS = ("txt", "jsonl", "csv", "tsv", "parquet")
PACKINGS = ("gz", "zst")
COLUMNS = ("conll", "conllu", "iob", "bio")
"""A token a line with its annotations in columns."""
ROW_KINDS = (*KINDS, "json", *COLUMNS)
"""Kinds of files with labelled rows."""
_MADE = ("tokenizer.json", "tokenizer_config.json", "asked.toml")
"""What tells a folder of a tokenizer (a store has one, a model too) or of a run."""
_HEAD = 1 << 16
_CONVERT = "convert it first, for example with iconv -f CP1251 -t UTF-8"
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, standard input or one Hub data set."""

    name: str
    """As messages call it."""
    path: Path | None
    """None for standard input and for a Hub data set."""
    kind: str
    """txt, jsonl, csv, tsv, parquet, json, hf, or "" for standard input that is read as it comes."""
    packing: str = ""
    """gz, zst or "" for none."""
    named: bool = True
    """Whether the person named this very file, rather than a folder or a glob that holds it."""
    size: int = 0
    """Bytes on disk, packed as they are."""


@dataclass(slots=True)
class Tally:
    """What was met on the way, for the report."""

    read: int = 0
    """Bytes read so far, as they lie on disk."""
    undecodable: int = 0
    """Bytes that are not UTF-8, each replaced by U+FFFD."""
    empty: int = 0
    """Documents without text, left out."""
    empty_files: int = 0
    """Files without text, found in folders and globs."""
    cut: int = 0
    """Cuts made in documents longer than the longest allowed."""
    layouts: dict[str, str] = field(default_factory=dict)
    """The layout found in each .txt file, by its name."""

    @property
    def layout_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(self.layouts.values()).items()))


def find_sources(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    spool: Path | None = None,
    leave_out: Iterable[Path] = (),
    kinds: Sequence[str] = KINDS,
) -> list[Source]:
    """Every file that the inputs mean, once, in the order given and sorted inside a folder or a glob.

    `spool` is a folder into which standard input is written first, so that it can be read more than once. Folders in
    `leave_out` are not walked, nor are hidden ones, runs, and what holds a tokenizer: stores and models. Raises
    InputError for an input that means no readable file, one of the `kinds`.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    if not inputs:
        raise InputError(f"no input given; accepted are files, folders, globs, - and hf:NAME ({_accepted(kinds)})")
    avoided = {os.path.realpath(folder) for folder in leave_out}
    found: dict[str, Source] = {}
    for given in inputs:
        for source in _meant_by(os.fspath(given), spool, avoided, kinds):
            found.setdefault(os.path.realpath(source.path) if source.path else source.name, source)
    return list(found.values())


def _accepted(kinds: Sequence[str]) -> str:
    return f"{' '.join(f'.{kind}' for kind in kinds)}, each also as .gz or .zst"


def _meant_by(given: str, spool: Path | None, avoided: set[str], kinds: Sequence[str]) -> list[Source]:
    if given == "-":
        return [_standard_input(spool)]
    if given.startswith("hf:"):
        return [Source(name=given, path=None, kind="hf")]
    path = Path(given)
    if path.is_dir():
        return _in_folder(path, avoided, kinds)
    if path.exists():
        return [_as_file(path, given, kinds, named=True)]
    if glob.has_magic(given):
        matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
        begin = len([*takewhile(lambda part: not glob.has_magic(part), path.parts)])
        files = [m for m in matches if _kind(m, kinds) and m.is_file() and not _through(m, begin, avoided)]
        if files:
            return [_as_file(file, str(file), kinds, named=False) for file in files]
        raise InputError(f"{given}: {len(matches)} matches, and none that can be read; accepted: {_accepted(kinds)}")
    raise InputError(f"{given}: no such file or folder")


def _in_folder(folder: Path, avoided: set[str], kinds: Sequence[str]) -> list[Source]:
    files, others = [], 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not _passed_over(Path(at, f), avoided))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(at, name)
            if _kind(path, kinds) and path.is_file():
                files.append(_as_file(path, str(path), kinds, named=False))
            others += not _kind(path, kinds)
    if not files:
        said = f"a folder without readable files ({others} of other kinds)"
        raise InputError(f"{folder}: {said}; accepted: {_accepted(kinds)}")
    return files


def _through(path: Path, begin: int, avoided: set[str]) -> bool:
    """Whether a glob, whose own parts end at `begin`, went through a folder that a walk would pass over."""
    folders = path.parts[:-1]
    return any(_passed_over(Path(*folders[: at + 1]), avoided) for at in range(begin, len(folders)))


def _passed_over(folder: Path, avoided: set[str]) -> bool:
    """Whether a folder is hidden, to be left out, or one that this package or transformers wrote."""
    if folder.name.startswith(".") or os.path.realpath(folder) in avoided:
        return True
    return any((folder / made).is_file() for made in _MADE)


def _kind(path: Path, kinds: Sequence[str]) -> tuple[str, str] | None:
    suffixes = [suffix[1:].lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    return (suffixes[-1], packing) if suffixes and suffixes[-1] in kinds else None


def _as_file(path: Path, name: str, kinds: Sequence[str], *, named: bool) -> Source:
    kind = _kind(path, kinds)
    if kind is None:
        raise InputError(f"{name}: not a kind of file that can be read; accepted: {_accepted(kinds)}")
    return Source(name=name, path=path, kind=kind[0], packing=kind[1], named=named, size=path.stat().st_size)


def _standard_input(spool: Path | None) -> Source:
    if spool is None:
        return Source(name="-", path=None, kind="")
    path = spool / "stdin"
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, BUFFER)
    with open(path, "rb") as file:
        packing = packing_of(file.read(4))
    spooled = Source(name="-", path=path, kind="txt", packing=packing, size=path.stat().st_size)
    with reporting("-"), opened(spooled) as (stream, _):
        return replace(spooled, kind=kind_of(stream))


@contextmanager
def opened(source: Source) -> Iterator[tuple[io.BufferedReader, io.BufferedReader]]:
    """The unpacked stream of a source, and the raw stream below it, whose `tell()` is the progress.

    Raises InputError when the file cannot be opened or holds no bytes.
    """
    try:
        raw = open(source.path, "rb") if source.path else sys.stdin.buffer  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{source.name}: cannot be read: {error.strerror}") from None
    try:
        buffered = unpacked(raw, "")
        packing = source.packing if source.kind else packing_of(buffered.peek(4))
        yield unpacked(buffered, packing), buffered
    finally:
        if source.path:
            raw.close()


def kind_of(stream: io.BufferedReader) -> str:
    """The kind of a stream without a name; what is none of these is text.

    JSON lines begin with a brace, a list of rows with a bracket before that, and the first line of a table names a
    column `text` or `tokens` beside others.
    """
    head = stream.peek(_HEAD).removeprefix(b"\xef\xbb\xbf")
    if head.startswith(b"PAR1"):
        return "parquet"
    if rows := re.match(rb"\s*(\[\s*)?\{", head):
        return "json" if rows[1] else "jsonl"
    first = head.partition(b"\n")[0].rstrip(b"\r")
    for kind, between in (("tsv", b"\t"), ("csv", b",")):
        names = [name.strip(b'"') for name in first.split(between)]
        if len(names) > 1 and not {b"text", b"tokens"}.isdisjoint(names):
            return kind
    return "txt"


@contextmanager
def reporting(name: str) -> Iterator[None]:
    """Turns what the disk or a damaged archive raises into one line about the file."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(f"{name}: the archive is damaged or cut short ({error})") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None


def lines(stream: io.BufferedReader, name: str, tally: Tally, *, strict: bool) -> Iterator[str]:
    """Lines of UTF-8 without their ends; bytes that are not UTF-8 become U+FFFD and are counted.

    A byte-order mark and CRLF are taken off. Raises InputError when the stream is not text, and with `strict` at the
    first line that is not UTF-8.
    """
    _refuse_what_is_not_text(stream.peek(_HEAD)[:_HEAD], name)
    for number, raw in enumerate(stream, 1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            if strict:
                byte = f"{raw[error.start]:#04x}"
                raise InputError(f"{name}:{number}: not UTF-8 (byte {byte}); {_CONVERT}") from None
            text, replaced = _ESCAPED.subn("\ufffd", raw.decode(errors="surrogateescape"))
            tally.undecodable += replaced
        yield text.rstrip("\r\n")


def _refuse_what_is_not_text(head: bytes, name: str) -> None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}: UTF-16 text; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)")
    if b"\0" in head:
        raise InputError(f"{name}: not a text file (it holds NUL bytes); accepted is UTF-8 text")
    if 4 * len(_ESCAPED.findall(head.decode(errors="surrogateescape"))) > len(head):
        raise InputError(f"{name}: not UTF-8 text; {_CONVERT}")
