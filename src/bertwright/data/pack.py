"""Examples to batches: sequences laid end to end. Packing knows no task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ..flow import Batch, Example, Vocabulary


def pack(examples: Sequence[Example], vocabulary: Vocabulary) -> Batch:
    """Lays the S sequences of examples end to end as one batch of N tokens, without labels."""
    lengths = np.array([n for example in examples for n in example.lengths or (len(example),)], np.int64)
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return Batch(
        ids=torch.from_numpy(np.concatenate([example.ids for example in examples]).astype(np.int64)),
        positions=torch.from_numpy(positions),
        segments=torch.from_numpy(np.concatenate([example.segments for example in examples]).astype(np.int64)),
        cu_seqlens=torch.from_numpy(np.concatenate(([0], ends))),
        lengths=tuple(lengths.tolist()),
        vocabulary=vocabulary,
        sizes=tuple(len(example.lengths) or 1 for example in examples),
    )


def split(examples: Iterable[Example], tokens: int) -> list[list[Example]]:
    """Groups of similar length, each at most `tokens` large (longest x number), so that attention wastes little.

    An example longer than `tokens` is a group of its own.
    """
    by_length = sorted(examples, key=len, reverse=True)
    groups: list[list[Example]] = []
    for example in by_length:
        if groups and (len(groups[-1]) + 1) * len(groups[-1][0]) <= tokens:
            groups[-1].append(example)
        else:
            groups.append([example])
    return groups


def windows(examples: Iterable[Example], tokens: int, ahead: int = 64) -> Iterator[list[Example]]:
    """Groups of a long stream: `ahead` groups' worth of examples are looked at together, so memory is bounded."""
    held: list[Example] = []
    size = 0
    for example in examples:
        held.append(example)
        size += len(example)
        if size >= tokens * ahead:
            yield from split(held, tokens)
            held, size = [], 0
    yield from split(held, tokens)
