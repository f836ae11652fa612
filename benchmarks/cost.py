"""Cost against size, length and objective: the time of a token in training, beside what its FLOPs alone would take.

    python benchmarks/cost.py STORE [--arch bert] [--sizes tiny,mini,small,medium,base] [--lengths 64,128,256,512]
        [--objectives mlm,mlm+nsp] [--steps 6]

From random weights, steps of about 8,192 tokens, AdamW, no dropout. FLOPs are useful ones, 6 for every weight
of a matrix that a token meets (see docs/bench.md; attention's products are not counted), over the best bf16 product of
the same process. The sizes are measured at a length of 128, the lengths at the size `mini`; both learn masked LM. The
objectives are measured at `mini` and 128 in three turns each, by the medians of their steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from bertwright.data.feed import Feed
from bertwright.data.plan import Plan
from bertwright.data.store import TokenStore
from bertwright.encoders.base import Encoder
from bertwright.run.bench.flops import flops_per_token
from bertwright.run.bench.yardstick import matrix_peak
from bertwright.run.choose import task_of
from bertwright.tasks.base import Task
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.loop import Loop
from bertwright.train.memory import keep_memory
from bertwright.train.optim import adamw
from bertwright.train.precision import device, resolve

WARM = 4
TURNS = 3
TOKENS = 8192


def seconds_a_token(store: TokenStore, encoder: Encoder, task: Task, length: int, steps: int) -> float:
    model = Model(encoder, task)
    encoder.draw_head(model.head, 1, "paper")
    model.set_dropout(0.0)
    model.to(device())
    documents = store.train.documents(length)
    plan = Plan(documents, task.examples, batch_size=max(1, TOKENS // length), seed=1, chunk_items=64)
    feed = Feed(plan, task.label, store.vocabulary, TOKENS)
    loop = Loop(
        model,
        feed,
        adamw(model, lr=1e-4, weight_decay=0.01),
        lambda step: 1.0,
        clip=1.0,
        precision=resolve("auto", device()),
        seed=1,
    )
    times, before = [], time.perf_counter()
    for step in loop.steps(WARM + steps):
        now = time.perf_counter()
        times.append((now - before) / step.tokens)
        before = now
    return statistics.median(times[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--arch", default="bert")
    parser.add_argument("--sizes", default="tiny,mini,small,medium,base")
    parser.add_argument("--lengths", default="64,128,256,512")
    parser.add_argument("--objectives", default="mlm,mlm+nsp")
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    keep_memory()
    store = TokenStore(Path(args.store))
    pairs = [(size, 128) for size in args.sizes.split(",")] + [("mini", int(n)) for n in args.lengths.split(",")]
    peak = matrix_peak()
    print(
        f"{args.arch}, {torch.get_num_threads()} threads, peak {peak / 1e9:,.0f} GFLOP/s, {time.strftime('%Y-%m-%d')}\n"
    )
    print("| size | length | microseconds a token | by its FLOPs alone | share of the peak | tokens/s |")
    print("|---|--:|--:|--:|--:|--:|")
    for size, length in dict.fromkeys(pairs):
        positions = {"max_position_embeddings": max(512, length)}
        encoder = Encoder.from_config(size, vocab_size=store.vocab_size, arch=args.arch, seed=1, **positions)
        took = seconds_a_token(store, encoder, MaskedLM(), length, args.steps)
        alone = flops_per_token(encoder, MaskedLM().rate) / peak
        print(
            f"| {size} | {length} | {took * 1e6:.1f} | {alone * 1e6:.1f} | {alone / took:.1%} | {1 / took:,.0f} |",
            flush=True,
        )
    objectives = args.objectives.split(",")
    found: dict[str, list[float]] = {name: [] for name in objectives}
    for name in objectives * TURNS:
        encoder = Encoder.from_config("mini", vocab_size=store.vocab_size, arch=args.arch, seed=1)
        found[name].append(seconds_a_token(store, encoder, task_of(name, {}), 128, args.steps))
    print("\n| objective | microseconds a token | speed |\n|---|--:|--:|")
    first = statistics.median(found[objectives[0]])
    for name, took in found.items():
        print(f"| {name} | {statistics.median(took) * 1e6:.1f} | {first / statistics.median(took):.2f} |")


if __name__ == "__main__":
    main()
