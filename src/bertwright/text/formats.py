"""Reading text and labelled rows from every format, one at a time.

`Corpus` yields documents for a token store; `read_rows` yields the rows of a labelled file. Both raise InputError with
one line that names the file and, where there is one, the line.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ..errors import InputError
from . import layouts
from .compression import BUFFER
from .labelled import LabelledRow, from_columns, from_conllu, from_json, parsed
from .sources import COLUMNS, ROW_KINDS, Source, Tally, find_sources, kind_of, lines, opened, reporting
from .tables import from_csv, from_tsv


class RawText(NamedTuple):
    """A document as it was read."""

    source: str
    """The file, or file:line, it comes from."""
    text: str
    """Paragraphs, with a line end between them."""


def read_rows(path: str | os.PathLike[str]) -> Iterator[LabelledRow]:
    """Rows of the files that an INPUT means: .jsonl .csv .tsv .parquet, packed or not; a line of .txt is a row `text`.

    Also files of annotations: .json of SQuAD's make, and .conll and its like with a token a line (see `labelled`).
    Columns of .csv and .tsv take their names from the first line, and their values are strings. Raises InputError, also
    for bytes that are not UTF-8 and for a file without rows.
    """
    for source in find_sources([path], kinds=ROW_KINDS):
        rows = _rows(source, Tally(), strict=True)
        first = next(rows, None)
        if first is None and source.named:
            raise InputError(
                "standard input has no rows" if source.name == "-" else f"{source.name}: the file has no rows"
            )
        if first is not None:
            yield from chain([first], rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The documents of some sources.

    A .txt file is one document or several, as its layout says (see `layouts`); a row of any other file is one document.
    """

    sources: Sequence[Source]
    field: str = "text"
    """The column that holds the text, in files with columns."""
    layout: str = "auto"
    """auto, lines, prose or wrapped."""
    strict: bool = False
    """Refuse bytes that are not UTF-8 rather than replace them."""

    def documents(self, tally: Tally) -> Iterator[RawText]:
        """Every document with text, in order; `tally` counts what was met. Raises InputError when there is none."""
        count = 0
        for source in self.sources:
            before, size, found = tally.read, source.size, False
            for document in self.documents_of(source, tally):
                found = True
                yield document
            if not found and source.named:
                raise InputError(f"{source.name}: no text in it")
            tally.empty_files += not found
            tally.read = before + size
            count += found
        if not count:
            raise InputError(f"no text in any of the {len(self.sources)} files")

    def documents_of(self, source: Source, tally: Tally) -> Iterator[RawText]:
        """The documents with text of one source."""
        for document in self._texts(source, tally):
            if document.text and not document.text.isspace():
                yield document
            else:
                tally.empty += 1

    def _texts(self, source: Source, tally: Tally) -> Iterator[RawText]:
        if source.kind == "txt":
            with reporting(source.name), opened(source) as (stream, raw):
                yield from self._from_lines(source, stream, raw, tally)
        else:
            for row in _rows(source, tally, strict=self.strict):
                yield RawText(row.where, self._text_of(row))

    def _from_lines(
        self, source: Source, stream: io.BufferedReader, raw: io.BufferedReader, tally: Tally
    ) -> Iterator[RawText]:
        before = tally.read
        found: list[str] = []
        read = _lone_returns_split(lines(stream, source.name, tally, strict=self.strict))
        for paragraphs, cut in layouts.documents(read, self.layout, found):
            tally.cut += cut
            tally.layouts[source.name] = found[0]
            tally.read = before + raw.tell()
            yield RawText(source.name, "\n".join(paragraphs))

    def _text_of(self, row: LabelledRow) -> str:
        if self.field not in row:
            columns = ", ".join(map(str, row)) or "none"
            raise InputError(f"{row.where}: no column {self.field!r}; the columns are {columns} (set --text-field)")
        text = row[self.field]
        if not isinstance(text, str | None):
            raise InputError(f"{row.where}: column {self.field!r} holds a {type(text).__name__}, not text")
        return text or ""


def _lone_returns_split(read: Iterator[str]) -> Iterator[str]:
    for line in read:
        if "\r" in line:
            yield from line.split("\r")
        else:
            yield line


def _rows(source: Source, tally: Tally, *, strict: bool) -> Iterator[LabelledRow]:
    if source.kind == "hf":
        yield from _from_hub(source.name)
        return
    before = tally.read
    with reporting(source.name), opened(source) as (stream, raw):
        kind = source.kind or kind_of(stream)
        if kind == "parquet":
            yield from _from_parquet(stream, source)
            return
        read = lines(stream, source.name, tally, strict=strict)
        for row in _PARSERS[kind](read, source.name):
            tally.read = before + (raw.tell() if source.path else 0)
            yield row


def _from_text(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    for number, line in enumerate(read, 1):
        if line and not line.isspace():
            yield LabelledRow({"text": line}, f"{name}:{number}")


def _from_json_lines(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    for number, line in enumerate(read, 1):
        if not line or line.isspace():
            continue
        try:
            row = parsed(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}:{number}: not a line of JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{name}:{number}: expected a JSON object, found {type(row).__name__}")
        yield LabelledRow(row, f"{name}:{number}")


def _from_parquet(stream: io.BufferedReader, source: Source) -> Iterator[LabelledRow]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with tempfile.TemporaryFile() as unpacked:
            if not stream.seekable() or source.packing:
                shutil.copyfileobj(stream, unpacked, BUFFER)
                unpacked.seek(0)
            table = ParquetFile(unpacked if source.packing or not stream.seekable() else stream)
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield LabelledRow(row, f"{source.name}:row {number}")
    except (ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{source.name}: not a readable parquet file ({str(error).splitlines()[0]})") from None


def _from_hub(name: str) -> Iterator[LabelledRow]:
    from datasets import load_dataset

    wanted, _, split = name.removeprefix("hf:").partition("@")
    path, _, config = wanted.partition(":")
    try:
        rows = load_dataset(path, config or None, split=split or "train")
    except Exception as error:  # the library raises what its many parts raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name}: the data set cannot be loaded ({reason})") from None
    for number, row in enumerate(rows, 1):
        yield LabelledRow(dict(row), f"{name}:row {number}")


_PARSERS: dict[str, Callable[[Iterator[str], str], Iterator[LabelledRow]]] = {
    "txt": _from_text,
    "jsonl": _from_json_lines,
    "csv": from_csv,
    "tsv": from_tsv,
    "json": from_json,
    "conllu": from_conllu,
    **dict.fromkeys((kind for kind in COLUMNS if kind != "conllu"), from_columns),
}
