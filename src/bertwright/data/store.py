"""The token store: a corpus as ids on disk, memory-mapped.

    manifest.json      what it is, what it was made of and how, the size and sha256 of every other file
    tokenizer/         a Hugging Face tokenizer
    train/ heldout/    the two parts, each:
        tokens.bin     the ids of all sentences end to end: uint16, or uint32 for vocabularies over 65,536 entries
        outline.bin    the length of each sentence and the ends of documents, a byte a sentence (see `outline`)
        index.bin      uint64 pairs (token, outline byte) where documents 0, 64, 128 ... begin, and a pair for the end

Numbers are little-endian. A store is written beside its place, as PATH.partial, and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, final, overload

import numpy as np

from ..errors import InputError, StoreError
from ..flow import Document, Vocabulary
from ..text.tokenizer import Tokenizer
from .outline import Bounds, decode

FORMAT = "bertwright token store"
VERSION = 1
STRIDE = 64
"""Documents between two entries of an index."""
PARTS = ("train", "heldout")


def partial_path(path: Path) -> Path:
    """Where a store is written before it is complete."""
    path = path.absolute()  # `.` has no name.
    return path.with_name(path.name + ".partial")


@final
class TokenStore:
    """A token store on disk. Opening it reads the manifest and the sizes of its files.

    Raises StoreError when there is none at `path`, when it is half-written or damaged, or of another version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest: Mapping[str, Any] = _read_manifest(self.path)
        _check_sizes(self.path, self.manifest)
        self.train = Part(self.path, self.manifest, "train", lambda: self.vocabulary)
        self.heldout = Part(self.path, self.manifest, "heldout", lambda: self.vocabulary)

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def fingerprint(self) -> str:
        """sha256 over the tokenizer and the tokens of both parts."""
        return self.manifest["fingerprint"]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        try:
            return Tokenizer.load(self.path / "tokenizer")
        except InputError as error:
            raise StoreError(f"{self.path}: damaged: {error}") from None

    @property
    def vocabulary(self) -> Vocabulary:
        return self.tokenizer.vocabulary

    def verify(self) -> None:
        """Reads every file. Raises StoreError for the first whose sha256 is not the manifest's."""
        for name, file in self.manifest["files"].items():
            with open(self.path / name, "rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file["sha256"]:
                raise StoreError(f"{self.path}: damaged: {name} is not as it was written (sha256 {found[:12]}...)")

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}: {len(self.train)} + {len(self.heldout)} documents)"


@final
class Part:
    """The training or the held-out documents of a store."""

    def __init__(
        self, path: Path, manifest: Mapping[str, Any], name: str, vocabulary: Callable[[], Vocabulary]
    ) -> None:
        counts = manifest["parts"][name]
        self.tokens: int = counts["tokens"]
        self._documents: int = counts["documents"]
        self._vocabulary = vocabulary
        self._ids = _mapped(path / name / "tokens.bin", np.dtype(manifest["dtype"]).newbyteorder("<"))
        self._outline = _mapped(path / name / "outline.bin", np.dtype(np.uint8))
        self._index = _mapped(path / name / "index.bin", np.dtype("<u8")).reshape(-1, 2)
        self._group = lru_cache(maxsize=16)(self._read_group)

    def __len__(self) -> int:
        """Documents."""
        return self._documents

    def sentences(self, i: int) -> Sentences:
        """The sentences of document `i`."""
        if not 0 <= i < len(self):
            raise IndexError(f"document {i} of {len(self)}")
        bounds, first_token = self._group(i // STRIDE)
        begin, end = bounds.sentences[i % STRIDE : i % STRIDE + 2]
        return Sentences(self._ids, bounds.tokens[begin : end + 1] + first_token)

    def documents(self, length: int) -> Documents:
        """All documents, for cutting sequences of up to `length` tokens, special tokens included."""
        return Documents(self, self._vocabulary(), length)

    def stretch(self, begin: int, end: int) -> np.ndarray:
        """The tokens from one to another of the part, whatever sentences they are in: ids [n], int64."""
        return self._ids[begin:end].astype(np.int64)

    def place(self, token: int) -> tuple[int, int]:
        """The document that holds a token of the part, and which of its sentences does."""
        group = int(np.searchsorted(self._index[:, 0], token, side="right")) - 1
        bounds, first_token = self._group(group)
        sentence = int(np.searchsorted(bounds.tokens, token - first_token, side="right")) - 1
        within = int(np.searchsorted(bounds.sentences, sentence, side="right")) - 1
        return group * STRIDE + within, int(sentence - bounds.sentences[within])

    def span(self, i: int) -> tuple[int, int]:
        """Where the tokens of document `i` begin and end in the part."""
        bounds, first_token = self._group(i // STRIDE)
        begin, end = bounds.tokens[bounds.sentences[i % STRIDE : i % STRIDE + 2]] + first_token
        return int(begin), int(end)

    def _read_group(self, group: int) -> tuple[Bounds, int]:
        (first_token, begin), (_, end) = self._index[group : group + 2].tolist()
        return decode(self._outline[begin:end]), first_token


@final
class Sentences(Sequence[np.ndarray]):
    """The sentences of a document, each read when asked for: ids [n], int64, without special tokens."""

    def __init__(self, ids: np.ndarray, bounds: np.ndarray) -> None:
        self._ids = ids
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, at: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, at: slice) -> list[np.ndarray]: ...
    def __getitem__(self, at: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        return self._ids[self._bounds[at] : self._bounds[at + 1]].astype(np.int64)

    def __iter__(self) -> Iterator[np.ndarray]:
        ids = self._ids[self._bounds[0] : self._bounds[-1]].astype(np.int64)
        ends = (self._bounds - self._bounds[0]).tolist()
        return (ids[begin:end] for begin, end in pairwise(ends))


@final
class Documents(Sequence[Document]):
    """The documents of a part as what tasks cut examples from."""

    def __init__(self, part: Part, vocabulary: Vocabulary, length: int) -> None:
        self._part = part
        self._vocabulary = vocabulary
        self._length = length

    @property
    def tokens(self) -> int:
        return self._part.tokens

    def __len__(self) -> int:
        return len(self._part)

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> list[Document]: ...
    def __getitem__(self, at: int | slice) -> Document | list[Document]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]

        def elsewhere(rng: np.random.Generator) -> tuple[Sentences, int]:
            if len(self) == 1:
                return self._part.sentences(0), 0
            begin, end = self._part.span(at)
            drawn = int(rng.integers(self.tokens - (end - begin)))
            document, sentence = self._part.place(drawn + (end - begin) * (drawn >= begin))
            return self._part.sentences(document), sentence

        return Document(
            sentences=self._part.sentences(at),
            vocabulary=self._vocabulary,
            length=self._length,
            elsewhere=elsewhere,
        )


def _mapped(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """A file as a read-only array; an empty file cannot be mapped."""
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.zeros(0, dtype)


def _read_manifest(path: Path) -> dict[str, Any]:
    half_written = partial_path(path).is_dir() or path.name.endswith(".partial")
    again = f"run the same `bertwright prepare ... --out {str(path).removesuffix('.partial')}` again to finish it"
    if not (path / "manifest.json").is_file():
        if half_written:
            raise StoreError(f"{path}: the token store is half-written; {again}")
        if not path.exists():
            raise StoreError(f"{path}: no such token store; make one with `bertwright prepare INPUT... --out {path}`")
        raise StoreError(f"{path}: not a token store (no manifest.json in it); `bertwright prepare` makes one")
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        made = (manifest["format"], manifest["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a token store (its manifest.json cannot be read: {error!r})") from None
    if made[0] != FORMAT:
        raise StoreError(f"{path}: not a token store (its manifest.json is of {made[0]!r})")
    if made[1] != VERSION:
        raise StoreError(f"{path}: a store of version {made[1]}, this bertwright reads {VERSION}; prepare it again")
    return manifest


def _check_sizes(path: Path, manifest: Mapping[str, Any]) -> None:
    for name, file in manifest["files"].items():
        found = (path / name).stat().st_size if (path / name).is_file() else None
        if found != file["bytes"]:
            state = "is missing" if found is None else f"has {found} bytes"
            raise StoreError(f"{path}: damaged: {name} {state}, the manifest says {file['bytes']}; prepare it again")
