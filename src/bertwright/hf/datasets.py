"""The text datasets that `transformers` had until version 5, each line or block read from the disk when asked for.

Signatures, items and their order are as they were; what lies under them is not. The text is encoded once, a batch at a
time, into memory-mapped ids beside it (`cache`), which the next construction finds there unless the text, the tokenizer
or `overwrite_cache` says otherwise; block sizes share them. No pickle is written or read. An item is made when it is
asked for, never longer than `block_size`, and is the same in every process.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.store import Part
from ..errors import InputError, RecipeError
from .cache import Text, mapped, part_at, text_at
from .frames import Frame, frame_of
from .reading import Stream, by_line, by_piece, file_at, write
from .tokenizing import as_transformers, encode, fingerprint, vocabulary_of


class MappedDataset(Dataset[Any]):
    """Items cut from a folder of memory-mapped ids; only its path goes to worker processes."""

    def __init__(self, tokenizer: Any, block_size: int, segments: int, least: int) -> None:
        self.tokenizer = as_transformers(tokenizer)
        self.block_size = block_size
        self.frame: Frame = frame_of(self.tokenizer, segments)
        room = block_size - self.frame.size
        if room < least:
            raise RecipeError(
                f"block_size is {block_size}, of which special tokens take {self.frame.size}; "
                f"accepted is {self.frame.size + least} or more"
            )
        self.room = room
        """Tokens of an item that are not special."""
        self.folder = Path()
        """Where the ids are kept."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, at: int) -> Any:
        """Item `at`, between 0 and the length."""

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self.item(i) for i in range(*at.indices(len(self)))]
        return self.item(range(len(self))[at])

    @property
    def examples(self) -> Sequence[Any]:
        """All items, as the datasets held them in a list."""
        return self  # type: ignore[return-value]  # it has a length and items by number

    @property
    def part(self) -> Part:
        """The memory-mapped ids."""
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Part, np.ndarray]:
        return part_at(self.folder, partial(vocabulary_of, self.tokenizer))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}


@final
class LineByLineTextDataset(MappedDataset):
    """A line, cut to `block_size` tokens with its special ones, is an item `{"input_ids": [n]}`; blank lines are none.

    Raises InputError for a file that is missing, empty or no UTF-8 text, RecipeError for a `block_size` too small.
    """

    def __init__(self, tokenizer: Any, file_path: str | os.PathLike[str], block_size: int) -> None:
        super().__init__(tokenizer, block_size, segments=1, least=1)
        path = file_at(file_path, "file_path")
        self.folder = encoded(text_at(path, (path,)), "lines", by_line, self.tokenizer)
        if not len(self):
            raise InputError(f"{path}: the tokenizer finds nothing to encode in any line")

    def __len__(self) -> int:
        return len(self.part)

    def item(self, at: int) -> dict[str, Tensor]:
        begin, end = self.part.span(at)
        ids, _ = self.frame.around(self.part.stretch(begin, min(end, begin + self.room)))
        return {"input_ids": torch.from_numpy(ids)}


@final
class TextDataset(MappedDataset):
    """The text from end to end in blocks of `block_size` tokens with the special ones, each a tensor [block_size].

    What is left at the end, less than a block, is left out. The cache is kept in `cache_dir`, or beside the file.
    Raises as `LineByLineTextDataset` does, and InputError for a text of less than a block.
    """

    def __init__(
        self,
        tokenizer: Any,
        file_path: str | os.PathLike[str],
        block_size: int,
        overwrite_cache: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(tokenizer, block_size, segments=1, least=1)
        path = file_at(file_path, "file_path")
        text = text_at(path, (path,), cache_dir)
        self.folder = encoded(text, "pieces", by_piece, self.tokenizer, anew=overwrite_cache)
        if not len(self):
            raise InputError(
                f"{path}: {self.part.tokens} tokens are less than one block of {block_size}; "
                "accepted are a smaller block_size or more text"
            )

    def __len__(self) -> int:
        return self.part.tokens // self.room

    def item(self, at: int) -> Tensor:
        ids, _ = self.frame.around(self.part.stretch(at * self.room, (at + 1) * self.room))
        return torch.from_numpy(ids)


def encoded(
    text: Text, kind: str, read: Callable[[Sequence[Path]], Stream], tokenizer: Any, *, anew: bool = False
) -> Path:
    """The folder with the ids of a text, read as `read` does, which the `kind` names."""
    return mapped(
        text,
        kind,
        {"tokenizer": fingerprint(tokenizer)},
        vocabulary_of(tokenizer).size,
        lambda part, _: write(read(text.files), partial(encode, tokenizer), part),
        anew=anew,
    )
