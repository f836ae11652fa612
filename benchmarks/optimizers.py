"""What optimizers for large batches or without clipping learn in the same steps: LAMB and StableAdamW beside ours.

    python benchmarks/optimizers.py STORE [--size tiny] [--arch bert] [--steps 500] [--batch-size 32] [WAY:LR ...]

A WAY is `adamw` or `muon`, ours, under clipping at 1; `stable`, AdamW whose rate is divided by the root mean square of
its update where that is above 1, without clipping (Wortsman et al., "Stable and low-precision training for large-scale
vision-language models", NeurIPS 2023); or `lamb`, whose update of each tensor is as long as the tensor (You et al.,
"Large batch optimization for deep learning", ICLR 2020), under clipping at 1. Masked LM from `--init local`, a linear
schedule, a tenth of it rise, weight decay 0.01 of matrices, one seed. Printed: held-out loss and masked right.
"""

from __future__ import annotations

import argparse
import time
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bertwright.data.feed import Feed
from bertwright.data.plan import Plan
from bertwright.data.store import TokenStore
from bertwright.encoders.base import Encoder
from bertwright.run.sources import labelled_once, store_examples
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.loop import Loop, measure
from bertwright.train.memory import keep_memory
from bertwright.train.optim import AnyOptimizer, optimizer
from bertwright.train.precision import device, resolve
from bertwright.train.schedule import factor

WAYS = ("adamw:1e-3", "adamw:2e-3", "stable:1e-3", "stable:2e-3", "lamb:5e-3", "lamb:2e-2", "muon:2e-3")
TASK = MaskedLM()
LENGTH, MICRO_TOKENS, HELDOUT, SEED = 128, 8192, 1000, 1


class Looking(torch.optim.Optimizer, ABC):
    """Adam whose update of a tensor is looked at before it is taken."""

    def __init__(self, model: Model, lr: float) -> None:
        named = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in named if (p.ndim > 1) is matrices], "decay": decay}
            for matrices, decay in ((True, 0.01), (False, 0.0))
        ]
        super().__init__(groups, {"lr": lr})
        self.done = 0

    @abstractmethod
    def take(self, p: Tensor, update: Tensor, second: Tensor, lr: float, decay: float) -> None:
        """Steps `p` by Adam's `update`; `second` is the moment under its root."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.done += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.take(p, *self._update(p), group["lr"], group["decay"])

    def _update(self, p: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[p]
        first = state.setdefault("first", torch.zeros_like(p)).lerp_(p.grad, 0.1)
        second = state.setdefault("second", torch.zeros_like(p)).lerp_(p.grad.square(), 0.001)
        corrected = second / (1 - 0.999**self.done)
        return first / (1 - 0.9**self.done) / (corrected.sqrt() + 1e-8), corrected


class StableAdamW(Looking):
    def take(self, p: Tensor, update: Tensor, second: Tensor, lr: float, decay: float) -> None:
        rms = float((p.grad.square() / second.clamp(min=1e-16)).mean().sqrt())
        p.mul_(1 - lr * decay).sub_(update, alpha=lr / max(1.0, rms))


class Lamb(Looking):
    def take(self, p: Tensor, update: Tensor, second: Tensor, lr: float, decay: float) -> None:
        update += decay * p
        size, length = float(p.norm()), float(update.norm())
        p.sub_(update, alpha=lr * (size / length if size and length else 1.0))


THEIRS = {"stable": StableAdamW, "lamb": Lamb}


def made(way: str, lr: float, model: Model) -> AnyOptimizer:
    if way in THEIRS:
        return THEIRS[way](model, lr)
    return optimizer(way, model, lr=lr, matrix_lr=0.02, weight_decay=0.01)


def learned(text: str, store: TokenStore, args: argparse.Namespace) -> dict[str, float]:
    way, _, lr = text.partition(":")
    encoder = Encoder.from_config(args.size, vocab_size=store.vocab_size, arch=args.arch)
    encoder.draw(SEED, "local")
    model = Model(encoder, TASK)
    encoder.draw_head(model.head, SEED, "local")
    model.set_dropout(0.0)
    model.to(device())
    plan = Plan(store.train.documents(LENGTH), TASK.examples, batch_size=args.batch_size, seed=SEED, chunk_items=1000)
    precision = resolve("auto", device())
    loop = Loop(
        model,
        Feed(plan, TASK.label, store.vocabulary, MICRO_TOKENS),
        made(way, float(lr), model),
        partial(factor, "linear", steps=args.steps, warmup=args.steps // 10),
        clip=float("inf") if way == "stable" else 1.0,
        precision=precision,
        seed=SEED,
    )
    for _ in loop.steps(args.steps):
        pass
    examples = store_examples(str(args.store), TASK, store.tokenizer, LENGTH, HELDOUT)
    return TASK.report(measure(model, labelled_once(TASK, examples, store.tokenizer, MICRO_TOKENS), precision))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("ways", nargs="*", default=WAYS, metavar="WAY:LR")
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--arch", default="bert")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_intermixed_args()
    keep_memory()
    store = TokenStore(args.store)
    print(f"{args.arch} {args.size}, {args.steps} steps of {args.batch_size}, {time.strftime('%Y-%m-%d')}\n")
    print("| optimizer and peak rate | held-out loss | masked right |\n|---|--:|--:|")
    for text in args.ways:
        report = learned(text, store, args)
        print(f"| {text} | {report['mlm.loss']:.3f} | {report['mlm.accuracy']:.1%} |", flush=True)


if __name__ == "__main__":
    main()
