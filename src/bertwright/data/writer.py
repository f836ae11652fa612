"""Writing a token store so that it is either complete or recognisably not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, final

import numpy as np

from ..errors import StoreError
from ..files import sync
from ..text.tokenizer import Tokenizer
from .outline import encode
from .store import FORMAT, PARTS, STRIDE, VERSION, partial_path

try:
    import fcntl
except ImportError:  # Windows: two writers of one store are not told apart
    fcntl = None

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@final
class StoreWriter:
    """A context in which a store is written to `folder`, beside its place; `finish` moves it there.

    Leaving without `finish`, for whatever reason, removes the folder; only a killed process leaves one behind, and the
    next writer clears it away. Raises StoreError when another process writes the same store, and when the disk is full
    or refuses.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = partial_path(out)
        self._files: dict[str, HashedFile] = {}
        self._lock = -1
        self._finished = False

    def __enter__(self) -> StoreWriter:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            for left in self.folder.iterdir():
                if left.name != "lock":
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        except OSError as error:
            raise self._refusal(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.abandon()
        if not self._finished:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
        if isinstance(error, OSError):
            raise self._refusal(error) from None

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreError(f"{self.out}: another process is writing this token store just now") from None

    def _refusal(self, error: OSError) -> StoreError:
        if error.errno in _NO_SPACE:
            return StoreError(f"{self.out}: no space left to write the token store; nothing was left there")
        return StoreError(f"{self.out}: the token store cannot be written: {error.strerror or error}")

    def file(self, name: str) -> HashedFile:
        """A new file of the store."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files[name] = HashedFile(path)
        return self._files[name]

    def part(self, name: str, vocab_size: int) -> PartWriter:
        """A new part, "train" or "heldout", with ids below `vocab_size`."""
        files = {kind: self.file(f"{name}/{kind}.bin") for kind in ("tokens", "outline", "index")}
        return PartWriter(files, dtype_for(vocab_size))

    def tokenizer(self, tokenizer: Tokenizer) -> None:
        """Writes the tokenizer's folder."""
        tokenizer.save(self.folder / "spare")
        for path in sorted((self.folder / "spare").iterdir()):
            self.file(f"tokenizer/{path.name}").write(path.read_bytes())
        shutil.rmtree(self.folder / "spare")

    @contextmanager
    def scratch(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to and read from that is not part of the store."""
        with open(self.folder / name, "w+b", buffering=1 << 20) as stream:
            yield stream

    def finish(self, parts: dict[str, PartWriter], tokenizer: Tokenizer, facts: dict[str, Any]) -> None:
        """Completes the store and moves it into place; `facts` go into the manifest beside what the writer knows."""
        for part in parts.values():
            part.end()
        for file in self._files.values():
            file.close()
        files = {name: {"bytes": f.bytes, "sha256": f.sha256} for name, f in sorted(self._files.items())}
        ids = {name: file for name, file in files.items() if name.startswith(PARTS)}
        size = tokenizer.vocabulary.size
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": _sha256_of([size, tokenizer.fingerprint, ids]),
            "tokenizer": tokenizer.fingerprint,
            "vocab_size": size,
            "dtype": dtype_for(size).name,
            **facts,
            "files": files,
        }
        with open(self.folder / "manifest.json", "w", encoding="utf-8") as stream:
            json.dump(manifest, stream, ensure_ascii=False, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        for left in self.folder.iterdir():
            if left.is_file() and left.name != "manifest.json":
                left.unlink()
        sync(self.folder)
        os.rename(self.folder, self.out)
        self._finished = True
        sync(self.out.parent)


@final
class HashedFile:
    """A file whose size and sha256 are known when it is closed."""

    def __init__(self, path: Path) -> None:
        self._stream = open(path, "wb", buffering=1 << 20)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    def close(self) -> None:
        """Makes sure that the bytes are on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        """Closes without caring whether what is still in memory can be written."""
        with suppress(OSError):
            self._stream.close()


@final
class PartWriter:
    """Documents added one after another to the files of a part."""

    def __init__(self, files: dict[str, HashedFile], dtype: np.dtype[Any]) -> None:
        self._files = files
        self._dtype = dtype.newbyteorder("<")
        self.documents = self.sentences = self.tokens = 0

    def add(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """A document: its ids end to end and the length of each of its sentences, at least 1."""
        if self.documents % STRIDE == 0:
            self._mark()
        self._files["tokens"].write(ids.astype(self._dtype).tobytes())
        self._files["outline"].write(encode(lengths))
        self.documents += 1
        self.sentences += len(lengths)
        self.tokens += len(ids)

    def end(self) -> None:
        """The last entry of the index."""
        self._mark()

    def _mark(self) -> None:
        self._files["index"].write(np.array([self.tokens, self._files["outline"].bytes], "<u8").tobytes())


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """The type that ids below `vocab_size` are stored in."""
    return np.dtype(np.uint16 if vocab_size <= 65_536 else np.uint32)


def _sha256_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
