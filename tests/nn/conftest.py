"""Batches without a meaning, for parts that look at lengths only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from bertwright.flow import Batch, Vocabulary


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(lengths: Sequence[int], reads: Sequence[int] | None = None) -> Batch:
        return Batch(
            ids=torch.arange(sum(lengths)),
            positions=torch.cat([torch.arange(n) for n in lengths]),
            segments=torch.zeros(sum(lengths), dtype=torch.long),
            cu_seqlens=torch.tensor([0, *lengths]).cumsum(0),
            lengths=tuple(lengths),
            vocabulary=Vocabulary(size=9, pad=0, cls=2, sep=3, mask=4, unk=1, special=(0, 1, 2, 3, 4)),
            reads=None if reads is None else torch.tensor(reads),
        )

    return make
