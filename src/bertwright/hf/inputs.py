"""A micro-batch as a collator made it, under the face that the loop asks for; and the micro-batches of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import InputError
from ..seeds import key_of
from .loading import restart, seed_everything

Counts = dict[str, int]


class Exhausted(InputError):
    """A stream ended, and does not begin again."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a model is called with, by name, and how many predictions each of its losses averages over."""

    values: Mapping[str, Any]
    counts: Counts
    index: int = 0
    """Which micro-batch of its step it is."""
    whole: Counts
    """The counts of the whole step."""

    @property
    def tokens(self) -> int:
        ids = self.values.get("input_ids")
        return ids.numel() if isinstance(ids, Tensor) else 0

    def to(self, device: torch.device) -> Self:
        return self.mapped(lambda x: x.to(device, non_blocking=True))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The micro-batch with every tensor replaced by what `change` makes of it."""
        return replace(self, values=mapped(self.values, change))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A nested value with every tensor replaced by what `change` makes of it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(one, change) for one in value)
    return value


class Epochs:
    """`epochs(step)` is the list of micro-batches of that step, from any iterable of batches, epoch by epoch.

    `length` is how many batches an epoch has; None: a stream of so many that nobody knows, begun anew at its end.
    """

    def __init__(
        self,
        batches: Any,
        counts: Callable[[Mapping[str, Any]], Counts],
        *,
        length: int | None,
        accumulation: int,
        seed: int,
    ) -> None:
        self._batches, self._counts, self._seed = batches, counts, seed
        self._length, self._accumulation = length, accumulation
        self.steps_per_epoch = None if length is None else max(1, -(-length // accumulation))
        self._skipped = 0
        self._has_given = False
        self._at: tuple[int, int] | None = None
        """Epoch and number of the batch that the iterator gives next."""
        self._iterator: Iterator[Any] = iter(())
        self._begun = 0
        """The epoch that the iterator was told; of a stream, how often it had begun before."""

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and how many batches of that epoch come before it."""
        if self.steps_per_epoch is None:
            return 0, step * self._accumulation
        epoch, within = divmod(step + self._skipped, self.steps_per_epoch)
        return epoch, within * self._accumulation

    def progress(self, done: int, steps: int) -> float:
        """How many epochs are done after `done` steps, of a stream the share of `steps`."""
        if self.steps_per_epoch is None or not self._length:
            return done / steps
        epoch, number = self.position(done - 1)
        return epoch + min(number + self._accumulation, self._length) / self._length

    def end(self, step: int) -> None:
        """Leaves out what is left of the epoch before `step`."""
        if self.steps_per_epoch is not None:
            self._skipped += -(step + self._skipped) % self.steps_per_epoch

    def __call__(self, step: int) -> list[Inputs]:
        epoch, number = self.position(step)
        if self._at != (epoch, number):
            self._iterator, self._begun = restart(self._batches, epoch, self._seed, number)
        wanted = self._accumulation if self._length is None else min(self._accumulation, self._length - number)
        values = [self._next(epoch, number + index) for index in range(wanted)]
        self._at = (epoch, number + wanted) if wanted == self._accumulation else None
        if self.position(step + 1)[0] != epoch:
            self._at = None
        counts = [self._counts(one) for one in values]
        whole = {name: sum(one.get(name, 0) for one in counts) for name in counts[0]}
        return [
            Inputs(values=one, counts=own, index=index, whole=whole)
            for index, (one, own) in enumerate(zip(values, counts, strict=True))
        ]

    def _next(self, epoch: int, number: int) -> Mapping[str, Any]:
        seed_words = (self._seed, "batch", epoch, number)
        seed_everything(key_of(*seed_words))
        found = next(self._iterator, None)
        if found is None:  # A stream's end: it begins again.
            self._iterator, self._begun = restart(self._batches, self._begun + 1, self._seed, 0)
            seed_everything(key_of(*seed_words))
            found = next(self._iterator, None)
        if found is None and self._has_given:
            raise Exhausted("the training dataset ended, and does not begin again")
        if found is None:
            raise InputError("the training dataset gave no batch: it is empty, or smaller than a batch that is dropped")
        if not isinstance(found, Mapping):
            raise InputError(
                f"a batch is a mapping of the model's inputs, and the collator made a {type(found).__name__}; pass a "
                "data_collator that returns a dict of tensors"
            )
        self._has_given = True
        return found
