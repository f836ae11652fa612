"""Tokens a second and share of the matrix peak, bertwright beside transformers' Trainer.

    python benchmarks/speed.py STORE [--size mini] [--steps 12] [--rounds 5] [--precision bf16] [--dropout 0.0]

Both train the same architecture with masked LM on the same examples of the store, the same number of a step, in
alternating rounds within one process; the first steps of a round are not timed. Real tokens are counted, padding is
not. The share of the peak (MFU) is useful FLOPs, 6 x (12 L H^2 + m (H^2 + H V)) a token with m the share of labelled
positions, over the best bf16 matrix product measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from bertwright.data.feed import Feed
from bertwright.data.plan import Plan
from bertwright.data.store import TokenStore
from bertwright.encoders import laws
from bertwright.encoders.base import Encoder
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw

WARM = 3


def matrix_peak(seconds: float = 2.0) -> float:
    """The best bf16 matrix product of a few shapes, in FLOP/s."""
    best = 0.0
    for n in (1024, 2048, 4096):
        a, b = torch.randn(n, n).bfloat16(), torch.randn(n, n).bfloat16()
        end = time.perf_counter() + seconds / 3
        while time.perf_counter() < end:
            start = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


class Ours:
    def __init__(self, plan: Plan, store: TokenStore, args: argparse.Namespace) -> None:
        encoder = Encoder.from_config(args.size, vocab_size=store.vocab_size, seed=1)
        self.model = Model(encoder, MaskedLM())
        laws.draw(self.model.head, 1, "paper")
        self.model.set_dropout(args.dropout)
        feed = Feed(plan, self.model.task.label, store.vocabulary, args.micro_tokens)
        optimizer = adamw(self.model, lr=1e-4, weight_decay=0.01)
        self.loop = Loop(self.model, feed, optimizer, lambda step: 1.0, clip=1.0, precision=args.precision, seed=1)

    def round(self, steps: int) -> list[float]:
        """Tokens a second of each timed step."""
        speeds, before = [], time.perf_counter()
        for number, step in enumerate(self.loop.steps(self.loop.step + WARM + steps)):
            now = time.perf_counter()
            if number >= WARM:
                speeds.append(step.tokens / (now - before))
            before = now
        return speeds


class Timer(transformers.TrainerCallback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *args: object, **kwargs: object) -> None:
        self.times.append(time.perf_counter())


class Theirs:
    """BertForMaskedLM under transformers.Trainer, batches padded by its own collator."""

    def __init__(
        self, plan: Plan, store: TokenStore, args: argparse.Namespace, config: transformers.BertConfig
    ) -> None:
        self.plan, self.args = plan, args
        self.model = transformers.BertForMaskedLM(config)
        self.collator = transformers.DataCollatorForLanguageModeling(store.tokenizer.hf())
        self.done = 0

    def round(self, steps: int) -> list[float]:
        examples = [e for s in range(WARM + steps + 1) for e in self.plan.examples(self.done + s)]
        self.done += WARM + steps + 1
        tokens = [len(e) for e in examples]
        timer = Timer()
        with tempfile.TemporaryDirectory() as out:
            arguments = transformers.TrainingArguments(
                out,
                per_device_train_batch_size=self.plan.batch_size,
                max_steps=WARM + steps + 1,
                bf16=self.args.precision == "bf16",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            rows = [{"input_ids": e.ids.tolist()} for e in examples]
            trainer = transformers.Trainer(
                self.model, arguments, train_dataset=rows, data_collator=self.collator, callbacks=[timer]
            )
            trainer.train()
        mean = statistics.fmean(tokens) * self.plan.batch_size
        pairs = zip(timer.times[WARM:], timer.times[WARM + 1 :], strict=False)
        return [mean / (after - before) for before, after in pairs]


def flops_per_token(config: transformers.BertConfig, share: float) -> float:
    hidden, layers = config.hidden_size, config.num_hidden_layers
    return 6 * (12 * layers * hidden**2 + share * (hidden**2 + hidden * config.vocab_size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--micro-tokens", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--dropout", type=float, default=0.0)
    args = parser.parse_args()
    store = TokenStore(Path(args.store))
    documents = store.train.documents(args.length)
    chunk = max(1, 1_000_000 * len(documents) // documents.tokens)
    plan = Plan(documents, MaskedLM().examples, batch_size=args.batch_size, seed=1, chunk_items=chunk)
    ours = Ours(plan, store, args)
    config = ours.model.encoder.config
    same = type(config).from_dict(config.to_dict())
    same.hidden_dropout_prob = same.attention_probs_dropout_prob = args.dropout
    theirs = Theirs(plan, store, args, same)
    speeds: dict[str, list[float]] = {"bertwright": [], "transformers": []}
    peak = matrix_peak()
    for _ in range(args.rounds):
        speeds["bertwright"] += ours.round(args.steps)
        speeds["transformers"] += theirs.round(args.steps)
        peak = max(peak, matrix_peak(0.6))
    flops = flops_per_token(config, 0.15)
    result = {
        side: {
            "tokens_per_second": round(statistics.median(values)),
            "quartiles": [round(q) for q in statistics.quantiles(values, n=4)],
            "mfu": round(statistics.median(values) * flops / peak, 4),
        }
        for side, values in speeds.items()
    }
    ratio = statistics.median(speeds["bertwright"]) / statistics.median(speeds["transformers"])
    print(
        json.dumps(
            {
                **result,
                "ratio": round(ratio, 2),
                "peak_gflops": round(peak / 1e9),
                "settings": vars(args),
                "vocabulary": store.vocab_size,
                "threads": torch.get_num_threads(),
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
                "cpu": platform.processor() or platform.machine(),
                "date": time.strftime("%Y-%m-%d"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
