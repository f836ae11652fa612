"""What each lever of the engine brings: a training step with all of them against one with all but one.

    python benchmarks/levers.py STORE [--size mini] [--arch bert] [--steps 20] [--rounds 3] [LEVER ...]

Masked LM on batches of 64 sequences of up to 128 tokens. Every variant runs in a process of its own, a few seconds a
round, in alternation; compared are the medians of its steps after the first eight. Without a lever means: the plain
way to do the same, as it would be written without a thought of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertwright.openmp import spin_a_while

WARM = 8


def without_bf16(args: argparse.Namespace) -> None:
    args.precision = "fp32"


def without_memory(args: argparse.Namespace) -> None:
    args.keep = False


def without_rounding(args: argparse.Namespace) -> None:
    """Every shape as it comes."""
    from bertwright.encoders import base
    from bertwright.nn import attention, cross_entropy, heads, rounding

    rounding.evened = lambda batch: batch
    base.in_even_rows = heads.in_even_rows = lambda function, x: function(x)
    attention.rounded = cross_entropy.rounded = lambda count, sizes=0: count


def without_fused_loss(args: argparse.Namespace) -> None:
    """Logits, then cross-entropy in fp32, then the accuracy."""
    from torch.nn import functional as F

    from bertwright.encoders.base import Encoder
    from bertwright.nn.cross_entropy import TokenLoss

    def plain(self: Any, predictor: Any, hidden: Any, targets: Any, z_loss: float = 0.0) -> TokenLoss:
        logits = self.logits(predictor, hidden).float()
        total = F.cross_entropy(logits, targets, reduction="sum")
        right = logits.detach().max(-1).indices == targets
        return TokenLoss(total, total.detach(), right.sum(), right)

    Encoder.token_loss = plain


def without_labelled_only(args: argparse.Namespace) -> None:
    """Logits at every token, and the loss at those that are labelled."""
    from dataclasses import replace

    from torch.nn import functional as F

    from bertwright.encoders.base import Encoder
    from bertwright.flow import Loss
    from bertwright.tasks.mlm import MaskedLM

    def plain(self: MaskedLM, encoder: Encoder, head: Any, batch: Any) -> Loss:
        targets = F.pad(batch.labels["mlm"].values.new_empty(0), (0, batch.tokens), value=-100)
        targets[batch.labels["mlm"].positions] = batch.labels["mlm"].values
        hidden = encoder(replace(batch, reads=None))
        total = F.cross_entropy(encoder.logits(head, hidden).float(), targets, reduction="sum")
        return Loss({"mlm": total}, {"mlm.targets": total.detach()})

    MaskedLM.loss = plain


def without_narrow_last_layer(args: argparse.Namespace) -> None:
    """The last layer at every token."""
    from dataclasses import replace

    from bertwright.encoders.base import Encoder

    whole = Encoder.forward

    def forward(self: Encoder, batch: Any) -> Any:
        hidden = whole(self, replace(batch, reads=None))
        return hidden if batch.reads is None else hidden[batch.reads]

    Encoder.forward = forward


def with_torch_linear(args: argparse.Namespace) -> None:
    """Linear layers as torch computes them, outside the loss."""
    from torch.nn import functional as F

    from bertwright.nn import heads, layers, linear

    linear.linear = layers.linear = heads.linear = F.linear


def with_padding_attended(args: argparse.Namespace) -> None:
    """The sequences that make up a rounded number of tokens have rows in attention's grids."""
    from dataclasses import replace

    from bertwright.nn import rounding

    evened = rounding.evened
    rounding.evened = lambda batch: replace(evened(batch), padding=0)


def without_grids(args: argparse.Namespace) -> None:
    """All sequences in one padded grid."""
    from bertwright.nn import attention

    attention._grouped = lambda lengths: [(len(lengths), lengths[0])]


def with_torch_attention(args: argparse.Namespace) -> None:
    """torch's fused scaled_dot_product_attention, in one padded grid, in place of our own products."""
    from bertwright.nn import attention

    attention.Layout.of = attention.Layout.in_one_grid
    attention.attended = attention._fused


def without_narrow_norms(args: argparse.Namespace) -> None:
    """What layers add, normalise and hand on in fp32, as autocast leaves it."""
    from torch import nn

    from bertwright.nn.norm import Norm

    Norm.forward = nn.LayerNorm.forward


def without_short_waits(args: argparse.Namespace) -> None:
    """Threads that spin as long as OpenMP lets them; set by the parent."""


def with_dropout(args: argparse.Namespace) -> None:
    args.dropout = 0.1


def with_torch_dropout(args: argparse.Namespace) -> None:
    """Numbers to keep drawn as torch's own dropout draws them; to be compared with ours."""
    import torch

    from bertwright.nn import dropout, products

    args.dropout = 0.1
    dropout.kept = products.kept = lambda count, p: torch.empty(count).bernoulli_(1 - p)


LEVERS: dict[str, Callable[[argparse.Namespace], None]] = {
    "all": lambda args: None,
    "no bf16": without_bf16,
    "logits at every token": without_labelled_only,
    "last layer at every token": without_narrow_last_layer,
    "loss from logits in fp32": without_fused_loss,
    "shapes as they come": without_rounding,
    "torch's linear layers": with_torch_linear,
    "padding in attention's grids": with_padding_attended,
    "one padded grid in attention": without_grids,
    "torch's fused attention": with_torch_attention,
    "what layers hand on in fp32": without_narrow_norms,
    "memory given back": without_memory,
    "threads that spin": without_short_waits,
    "dropout 0.1": with_dropout,
    "dropout 0.1 by torch": with_torch_dropout,
}


def measured(name: str, args: argparse.Namespace) -> list[float]:
    """Seconds a token of each step, in this process."""
    args.precision, args.keep, args.dropout = "auto", True, 0.0
    LEVERS[name](args)
    from bertwright.data.feed import Feed
    from bertwright.data.plan import Plan
    from bertwright.data.store import TokenStore
    from bertwright.encoders.base import Encoder
    from bertwright.tasks.mlm import MaskedLM
    from bertwright.tasks.model import Model
    from bertwright.train.loop import Loop
    from bertwright.train.memory import keep_memory
    from bertwright.train.optim import adamw
    from bertwright.train.precision import device, resolve

    if args.keep:
        keep_memory()
    store, task = TokenStore(Path(args.store)), MaskedLM()
    encoder = Encoder.from_config(args.size, vocab_size=store.vocab_size, arch=args.arch, seed=1)
    model = Model(encoder, task)
    encoder.draw_head(model.head, 1, "paper")
    model.set_dropout(args.dropout)
    model.to(device())
    plan = Plan(store.train.documents(args.length), task.examples, batch_size=args.batch_size, seed=1, chunk_items=64)
    feed = Feed(plan, task.label, store.vocabulary, 8192)
    precision = resolve(args.precision, device())
    optimizer = adamw(model, lr=1e-4, weight_decay=0.01)
    loop = Loop(model, feed, optimizer, lambda step: 1.0, clip=1.0, precision=precision, seed=1)
    times, before = [], time.perf_counter()
    for step in loop.steps(WARM + args.steps):
        now = time.perf_counter()
        times.append((now - before) / step.tokens)
        before = now
    return times[WARM:]


def in_a_process(name: str, args: argparse.Namespace) -> list[float]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if name == "threads that spin":
        environment.pop("GOMP_SPINCOUNT", None)
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--only", name],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("levers", nargs="*", default=list(LEVERS))
    parser.add_argument("--size", default="mini")
    parser.add_argument("--arch", default="bert")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=LEVERS, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args()
    if args.only:
        print(json.dumps(measured(args.only, args)))
        return
    spin_a_while()
    names = list(dict.fromkeys(["all", *args.levers]))
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            times[name] += in_a_process(name, args)
    whole = statistics.median(times["all"])
    print("| | tokens/s | against all |\n|---|--:|--:|")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"| {name} | {1 / middle:,.0f} | {whole / middle:.2f} |")


if __name__ == "__main__":
    main()
