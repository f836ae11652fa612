"""The plan: which examples make which step, as a function of (items, cut, seed, step) alone.

Items (documents or rows) stand in at most 65,536 blocks of neighbours. An epoch visits the blocks in a shuffled order,
a chunk of blocks at a time: all items of a chunk are cut into examples, the examples are shuffled, and steps take them
from the front. So memory is bounded by the chunk, and any step can be asked for in any order. How many examples a block
gives to an epoch is what it gave to the first; where a later cut yields fewer, the block is cut again for the rest,
where it yields more, the shuffle leaves some out. Asking for step k costs the cutting of what came before it in the
first epoch (10 to 20 microseconds an example), and a chunk after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Generic, TypeVar

import numpy as np

from ..errors import InputError
from ..flow import Example
from ..seeds import generator, key_of

MAX_BLOCKS = 65_536
Item = TypeVar("Item")
Cut = Callable[[Item, np.random.Generator], Iterable[Example]]


def in_order(items: Sequence[Item], cut: Cut[Item], seed: int) -> Iterator[Example]:
    """Every example of every item once, in the order of the items: what evaluation goes through."""
    return chain.from_iterable(by_item(items, cut, seed))


def by_item(items: Sequence[Item], cut: Cut[Item], seed: int) -> Iterator[list[Example]]:
    """The examples of each item, as `in_order` has them: what prediction goes through."""
    for index in range(len(items)):
        yield list(_cut(items[index], cut, (seed, 0, index)))


def _cut(item: Item, cut: Cut[Item], words: tuple[int, ...]) -> Iterator[Example]:
    for number, example in enumerate(cut(item, generator("cut", *words))):
        yield replace(example, key=key_of("example", *words, number))


class Plan(Generic[Item]):
    """The examples of every step of a run.

    `items` is what examples are cut from, `cut(item, rng)` cuts one of them, `batch_size` is the number of examples a
    step, `chunk_items` how many items are planned together.
    """

    def __init__(
        self, items: Sequence[Item], cut: Cut[Item], *, batch_size: int, seed: int, chunk_items: int = 8192
    ) -> None:
        self.items = items
        self.batch_size = batch_size
        self.seed = seed
        self._cut = cut
        self._block_items = max(1, -(-len(items) // MAX_BLOCKS))
        self._blocks = -(-len(items) // self._block_items)
        self._chunk_blocks = max(1, chunk_items // self._block_items)
        self._counts = np.zeros(self._blocks, np.int64)
        self._first_epoch_ends: list[int] = []
        # Caches of pure functions, of the size of what a step and the next one need.
        self._order = lru_cache(maxsize=2)(self._order)
        self._ends = lru_cache(maxsize=2)(self._ends)
        self._chunk = lru_cache(maxsize=2)(self._chunk)

    @property
    def examples_per_epoch(self) -> int:
        """How many examples an epoch has; asking for it cuts every item once."""
        while len(self._first_epoch_ends) < self._chunks:
            self._extend_first_epoch()
        return self._planned

    def examples(self, step: int) -> list[Example]:
        """The `batch_size` examples of a step, counted from 0.

        Raises InputError when not one example can be cut from the items.
        """
        return self.take(step * self.batch_size, self.batch_size)

    def take(self, place: int, number: int) -> list[Example]:
        """That many examples from a place on of the endless sequence that steps are taken from, as `examples`."""
        found: list[Example] = []
        while len(found) < number:
            epoch, chunk, offset = self._locate(place)
            taken = self._chunk(epoch, chunk)[offset : offset + number - len(found)]
            found += taken
            place += len(taken)
        return found

    def epoch(self, step: int) -> int:
        """The epoch that a step begins in, counted from 0."""
        return self._locate(step * self.batch_size)[0]

    @property
    def _chunks(self) -> int:
        return -(-self._blocks // self._chunk_blocks)

    @property
    def _planned(self) -> int:
        """How many examples of the first epoch are counted so far."""
        return self._first_epoch_ends[-1] if self._first_epoch_ends else 0

    def _locate(self, place: int) -> tuple[int, int, int]:
        """The epoch, the chunk and the offset in it of the example at `place` of the endless sequence."""
        while place >= self._planned and len(self._first_epoch_ends) < self._chunks:
            self._extend_first_epoch()
        epoch, place = divmod(place, self._whole()) if place >= self._planned else (0, place)
        ends = self._first_epoch_ends if epoch == 0 else self._ends(epoch)
        chunk = int(np.searchsorted(ends, place, side="right"))
        return epoch, chunk, place - (ends[chunk - 1] if chunk else 0)

    def _whole(self) -> int:
        if not self.examples_per_epoch:
            raise InputError("no example can be cut from the data: it holds no text that is long enough")
        return self.examples_per_epoch

    def _extend_first_epoch(self) -> None:
        self._first_epoch_ends.append(self._planned + len(self._chunk(0, len(self._first_epoch_ends))))

    def _order(self, epoch: int) -> np.ndarray:
        return generator(self.seed, "order", epoch).permutation(self._blocks)

    def _ends(self, epoch: int) -> list[int]:
        ends = np.cumsum(self._counts[self._order(epoch)])
        last = np.append(np.arange(self._chunk_blocks, self._blocks, self._chunk_blocks), self._blocks) - 1
        return ends[last].tolist()

    def _chunk(self, epoch: int, chunk: int) -> list[Example]:
        blocks = self._order(epoch)[chunk * self._chunk_blocks : (chunk + 1) * self._chunk_blocks]
        examples: list[Example] = []
        for block in blocks:
            examples += self._block(epoch, int(block))
        order = generator(self.seed, "shuffle", epoch, chunk).permutation(len(examples))
        return [examples[i] for i in order]

    def _block(self, epoch: int, block: int) -> list[Example]:
        if epoch == 0:
            examples = self._cut_block(block, (self.seed, 0))
            self._counts[block] = len(examples)
            return examples
        wanted, again = int(self._counts[block]), 0
        examples = self._cut_block(block, (self.seed, epoch))
        while len(examples) < wanted:
            again += 1
            examples += self._cut_block(block, (self.seed, epoch, again))
        if len(examples) == wanted:
            return examples
        chosen = generator(self.seed, "leave out", epoch, block).permutation(len(examples))[:wanted]
        return [examples[i] for i in np.sort(chosen)]

    def _cut_block(self, block: int, words: tuple[int, ...]) -> list[Example]:
        first = block * self._block_items
        indices = range(first, min(first + self._block_items, len(self.items)))
        return [example for index in indices for example in _cut(self.items[index], self._cut, (*words, index))]
