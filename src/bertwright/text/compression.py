"""Opening a file that may be packed: plain, .gz or .zst, as one buffered stream of bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO

from ..errors import InputError

BUFFER = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def unpacked(raw: BinaryIO, packing: str) -> io.BufferedReader:
    """The bytes inside `raw`; `packing` is "gz", "zst" or "" for a plain file.

    Reading raises an error of `damage()` when the archive is broken or cut short.
    """
    if packing == "gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER)  # type: ignore[arg-type]
    if packing == "zst":
        return io.BufferedReader(_ZstdReader(raw), BUFFER)
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, BUFFER)  # type: ignore[arg-type]


def packing_of(head: bytes) -> str:
    """How a stream that begins with `head` is packed."""
    return "gz" if head.startswith(GZIP_MAGIC) else "zst" if head.startswith(ZSTD_MAGIC) else ""


class Damaged(Exception):
    """An archive is broken."""


DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, Damaged)
"""What reading an archive that is broken or cut short raises."""


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise InputError("reading .zst needs one more package: pip install 'bertwright[zstd]'") from None
    return zstandard


class _ZstdReader(io.RawIOBase):
    """Frames laid end to end. zstandard's own stream reader takes a file that was cut short for a finished one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._library = _zstandard()
        self._frame: Any = None
        self._ahead = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        while not self._ready:
            if not self._more():
                return 0
        view = memoryview(target)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _more(self) -> bool:
        packed = self._ahead or self._raw.read(BUFFER // 8)
        self._ahead = b""
        if not packed:
            if self._frame is not None:
                raise EOFError("cut short inside a frame")
            return False
        if self._frame is None:
            self._frame = self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(packed))
        except self._library.ZstdError as error:
            raise Damaged(str(error)) from None
        if self._frame.eof:
            self._ahead = self._frame.unused_data
            self._frame = None
        return True
