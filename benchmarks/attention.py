"""Attention's own gradient beside plain products under autograd: a layer's attention forward and back, in bf16.

    python benchmarks/attention.py [--rounds 5] [--heads 4] [--dropout 0.1]

Batches: 32 questions, 32 reviews, rows of 128, and documents of 20 to 127 tokens. Both ways have the same grids; plain
products copy queries, keys and values into them, then head by head, and back, each a step of autograd. In alternation;
medians, and that both give the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bertwright.flow import Batch, Vocabulary
from bertwright.nn.attention import Layout, attention
from bertwright.nn.dropout import dropout
from bertwright.nn.grids import _Gather, _Spread
from bertwright.train.memory import keep_memory

SIZE = 64
REPEATS = 20


def batches() -> dict[str, list[int]]:
    draws = np.random.default_rng(0)
    return {
        "32 questions": draws.integers(6, 24, 32).tolist(),
        "32 reviews": draws.integers(5, 45, 32).tolist(),
        "64 rows of 128": [128] * 64,
        "100 documents": draws.integers(20, 128, 100).tolist(),
    }


def batch_of(lengths: list[int]) -> Batch:
    tokens = torch.zeros(sum(lengths), dtype=torch.long)
    ends = torch.tensor([0, *lengths]).cumsum(0)
    vocabulary = Vocabulary(size=10, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    return Batch(
        ids=tokens, positions=tokens, segments=tokens, cu_seqlens=ends, lengths=tuple(lengths), vocabulary=vocabulary
    )


def plain(query: Tensor, key: Tensor, value: Tensor, layout: Layout, p: float) -> Tensor:
    """The same in the same grids, as autograd differentiates it."""
    grids, heads = layout.tokens, query.shape[1]
    slots, fill = grids.slots, grids.fill
    laid = [x if slots is None else _Spread.apply(x, slots, fill) for x in (query, key, value)]
    parts = []
    split = [x.split([rows * width for rows, width in grids.shapes]) for x in laid]
    for (rows, width), mask, *here in zip(grids.shapes, layout.masks, *split, strict=True):
        q, k, v = (x.unflatten(0, (rows, width)).transpose(1, 2).flatten(0, 1) for x in here)
        if mask is None:
            scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=SIZE**-0.5)
        else:
            bias = mask.bias(heads, q.dtype)
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=SIZE**-0.5)
        parts.append((dropout(scores.softmax(-1), p) @ v).unflatten(0, (rows, heads)).transpose(1, 2).flatten(0, 1))
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole if slots is None else _Gather.apply(whole, slots, len(query))


def seconds(way: Callable[..., Tensor], joint: Tensor, heads: int, layout: Layout, p: float) -> tuple[float, Tensor]:
    """A pass there and back, and the gradient of what queries, keys and values were cut from."""
    pull = torch.ones(len(joint), heads, SIZE, dtype=joint.dtype)
    pull[:, :, ::2] = -1
    times = []
    for _ in range(REPEATS):
        joint.grad = None
        torch.manual_seed(0)
        started = time.perf_counter()
        way(*(x.unflatten(1, (heads, -1)) for x in joint.chunk(3, 1)), layout, p).backward(pull)
        times.append(time.perf_counter() - started)
    assert joint.grad is not None
    return statistics.median(times), joint.grad.clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    args = parser.parse_args()
    keep_memory()
    print(f"{torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}; ms there and back\n")
    print("| | grids | dropout | plain products | ours | time | largest difference of gradients |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for name, lengths in batches().items():
        layout = Layout.of(batch_of(lengths))
        joint = torch.randn(sum(lengths), 3 * args.heads * SIZE).bfloat16().requires_grad_()
        for p in (0.0, args.dropout):
            times: dict[str, list[float]] = {"plain": [], "ours": []}
            gradients: dict[str, Tensor] = {}
            for _ in range(args.rounds):
                for label, way in (("plain", plain), ("ours", attention)):
                    took, gradients[label] = seconds(way, joint, args.heads, layout, p)
                    times[label].append(1e3 * took)
            one, ours = (statistics.median(times[label]) for label in ("plain", "ours"))
            expected = gradients["plain"]
            difference = float((gradients["ours"] - expected).abs().max() / expected.abs().max())
            shapes = ", ".join(f"{rows} x {width}" for rows, width in layout.tokens.shapes)
            print(f"| {name} | {shapes} | {p:g} | {one:.2f} | {ours:.2f} | {ours / one:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    main()
