"""Batches from torch's datasets: their order and every draw made for them are functions of the seed and the epoch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..seeds import generator, key_of
from .arguments import TrainingArguments

Collate = Callable[[list[Any]], Any]


def seed_everything(key: int) -> None:
    """Seeds torch's, numpy's and Python's shared generators, from which collators draw."""
    torch.manual_seed(key)
    np.random.seed(key % 2**32)
    random.seed(key)


class Shuffled(Sampler[int]):
    """All indices in an order that follows from the seed and the epoch."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed, self._epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        return iter(generator(self._seed, "order", self._epoch).permutation(self._size).tolist())


class ByLength(Sampler[int]):
    """All indices, those of like lengths together, in an order that follows from the seed and the epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(key_of(self._seed, "order", self._epoch))
        return iter(get_length_grouped_indices(self._lengths, self._batch_size, generator=drawn))


class Keyed(Sampler[list[int]]):
    """The batches of a sampler's indices, each with its key before them: what is drawn for a batch follows from that.

    `skip` batches of the epoch are left out, without reading them.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, drop_last: bool, *words: int | str) -> None:
        self.sampler = sampler
        self._batches = BatchSampler(sampler, batch_size, drop_last)
        self._words = words
        self._epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for number, indices in enumerate(self._batches):
            if number >= self.skip:
                yield [key_of(*self._words, self._epoch, number), *indices]


class Drawn(Dataset[Any]):
    """A dataset asked for a batch's examples by its key and their indices; seeds the generators by the key first.

    It does so in the process that collates, so that workers draw what a single process draws.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, keyed: list[int]) -> list[Any]:
        seed_everything(keyed[0])
        if hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__(keyed[1:])
        return [self.dataset[index] for index in keyed[1:]]


def loader(
    args: TrainingArguments, dataset: Any, collate: Collate, sampler: Sampler[int] | None, words: tuple[int | str, ...]
) -> DataLoader[Any]:
    """The batches of a dataset: in the sampler's order, each drawn by a key of `words`; a stream's where it is one."""
    training = words[1] == "batch"
    batch_size = args.train_batch_size if training else args.eval_batch_size
    workers: dict[str, Any] = {"num_workers": args.dataloader_num_workers}
    if args.dataloader_num_workers:
        workers["prefetch_factor"] = args.dataloader_prefetch_factor
        workers["multiprocessing_context"] = args.dataloader_multiprocessing_context
    workers["pin_memory"] = args.dataloader_pin_memory and args.device.type == "cuda"
    drop_last = args.dataloader_drop_last and training
    if sampler is None:
        return DataLoader(dataset, batch_size=batch_size, collate_fn=collate, drop_last=drop_last, **workers)
    batches = Keyed(sampler, batch_size, drop_last, *words)
    made = DataLoader(Drawn(dataset), batch_sampler=batches, collate_fn=collate, **workers)
    # torch gives a loader with a batch sampler no batch_size, lets nobody set one, and code asks it for one.
    object.__setattr__(made, "batch_size", batch_size)
    return made


def is_stream(dataset: Any) -> bool:
    """Whether it is read from its beginning only."""
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")


def length_of(something: Any) -> int | None:
    """Its length, None where it has none."""
    try:
        return len(something) if isinstance(something, Sized) else None
    except TypeError:
        return None


def restart(batches: Any, epoch: int, seed: int, skip: int) -> tuple[Iterator[Any], int]:
    """The batches of an epoch from number `skip` on, of any iterable; whoever knows epochs is told which it is.

    A stream begins again at its end, and is told the next one; also returned is the epoch in which it is then.
    """
    order = getattr(batches, "batch_sampler", None)
    if isinstance(order, Keyed):
        order.skip, skip = skip, 0
    iterator, begun = _begun(batches, epoch, seed), epoch
    for number in range(skip):
        seed_everything(key_of(seed, "batch", epoch, number))
        if next(iterator, None) is None:
            begun += 1
            iterator = _begun(batches, begun, seed)
            seed_everything(key_of(seed, "batch", epoch, number))
            next(iterator, None)
    return iterator, begun


def _begun(batches: Any, epoch: int, seed: int) -> Iterator[Any]:
    seed_everything(key_of(seed, "epoch", epoch))
    order = getattr(batches, "batch_sampler", None)
    parts = (batches, order, None if isinstance(order, Keyed) else getattr(batches, "sampler", None))
    for part in (*parts, getattr(batches, "dataset", None)):
        if callable(tell := getattr(part, "set_epoch", None)):
            tell(epoch)
    return iter(batches)
