"""Fine-tuning and prediction beside transformers: rows a second of each, on the same classifier and the same rows.

    python benchmarks/downstream.py CLASSIFIER ROWS.jsonl [--rows 2000] [--rounds 3] [--only fine-tuning]

CLASSIFIER is a checkpoint fine-tuned with `bertwright finetune --task classify`, ROWS has its texts and labels.
Fine-tuning is timed over one pass of `--rows` rows: ours in batches of 32, stepping the words that were read and, to
compare, all of them; the Trainer at its defaults (batches of 8), with every text padded to 128 tokens as `run_glue` and
the tutorials have it, and with each batch padded to its longest; and at its best flags (batches of 32 of like length,
bf16 where the hardware has it, fused AdamW), without and with our allocator settings.
On both sides texts are cut to tokens before. Prediction: ours as `bertwright predict` does, and `transformers.pipeline`
in batches of 32. Everyone has a new process for each round, as a person's command has; loading is not timed. In
alternation; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar

from bertwright.run.answering import Answerer
from bertwright.run.choose import task_of, with_defaults
from bertwright.run.sources import open_source
from bertwright.run.spec import Recipe
from bertwright.run.start import begin
from bertwright.run.training import loop_of
from bertwright.tasks.model import Model
from bertwright.text.formats import read_rows
from bertwright.train import optim
from bertwright.train.loop import Loop
from bertwright.train.memory import keep_memory
from bertwright.train.precision import device, resolve

transformers.logging.set_verbosity_error()
disable_progress_bar()

BEST = {
    "per_device_train_batch_size": 32,
    "bf16": resolve("auto", device()) == "bf16",
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
}


@dataclass(frozen=True)
class Rows:
    """What is learned or answered: `file` of rows for the checkpoint `model`."""

    model: Path
    file: Path
    out: Path

    @classmethod
    def taken(cls, model: Path, file: Path, number: int, folder: Path) -> Rows:
        """The first so many rows of a file."""
        taken = [{"text": row["text"], "label": str(row["label"])} for row in islice(read_rows(file), number)]
        Dataset.from_list(taken).to_json(folder / "rows.jsonl", force_ascii=False)
        return cls(model, folder / "rows.jsonl", folder)

    def texts(self) -> list[str]:
        return [row["text"] for row in read_rows(self.file)]

    def columns(self) -> Dataset:
        labels = transformers.AutoConfig.from_pretrained(self.model).label2id
        rows = read_rows(self.file)
        return Dataset.from_list([{"text": row["text"], "label": labels[row["label"]]} for row in rows])


def our_loop(rows: Rows, epochs: int = 1) -> tuple[Loop[Model], int]:
    """A fine-tuning as `bertwright finetune` would begin it, and how many steps it has; its texts are cut to tokens."""
    keep_memory()
    recipe = Recipe.of(
        {
            "out": str(rows.out),
            "task": "classify",
            "data": {"train": str(rows.file), "dev": str(rows.file)},
            "encoder": {"start": str(rows.model)},
            "train": {"epochs": float(epochs)},
        }
    )
    source = open_source(recipe, task_of("classify", {}))
    built, _ = begin(recipe, source.task, source.tokenizer)
    recipe = with_defaults(recipe, source.task, built.encoder.config.hidden_size)
    built.set_dropout(recipe.train.dropout or 0.0)
    built.to(device())
    # As a run does to know how many there are; the Trainer's texts are cut beforehand too.
    steps = -(-epochs * source.plan(recipe).examples_per_epoch // (recipe.train.batch_size or 32))
    return loop_of(recipe, built, source.feed(recipe), steps), steps


def our_finetuning(rows: Rows) -> float:
    number = len(rows.texts())
    loop, steps = our_loop(rows)
    started = time.perf_counter()
    for _ in loop.steps(steps):
        pass
    return number / (time.perf_counter() - started)


def our_finetuning_of_whole_tables(rows: Rows) -> float:
    """With a gradient for every word of the vocabulary, and AdamW on all of them."""
    optim._looked_up = lambda model: None
    return our_finetuning(rows)


def their_finetuning(rows: Rows, padding: bool | str = False, **flags: Any) -> float:
    tokenizer = transformers.AutoTokenizer.from_pretrained(rows.model)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(rows.model)
    cut = partial(tokenizer, truncation=True, max_length=128, padding=padding)
    data = rows.columns().map(lambda one: cut(one["text"]), batched=True)
    arguments = transformers.TrainingArguments(
        str(rows.out), num_train_epochs=1, use_cpu=device().type == "cpu", report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True, **flags,
    )  # fmt: skip
    trainer = transformers.Trainer(
        classifier,
        arguments,
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    started = time.perf_counter()
    trainer.train()
    return len(data) / (time.perf_counter() - started)


def their_finetuning_as_run_glue(rows: Rows) -> float:
    return their_finetuning(rows, padding="max_length")


def their_best_finetuning(rows: Rows) -> float:
    return their_finetuning(rows, **BEST)


def their_best_finetuning_keeping_memory(rows: Rows) -> float:
    keep_memory()
    return their_finetuning(rows, **BEST)


def our_prediction(rows: Rows) -> float:
    keep_memory()
    answerer, texts = Answerer(str(rows.model)), rows.texts()
    started = time.perf_counter()
    answered = sum(1 for _ in answerer.predict({"text": text} for text in texts))
    return answered / (time.perf_counter() - started)


def their_prediction(rows: Rows) -> float:
    pipe, texts = transformers.pipeline("text-classification", model=str(rows.model), device=device()), rows.texts()
    started = time.perf_counter()
    answered = sum(1 for _ in pipe(texts, batch_size=32, truncation=True))
    return answered / (time.perf_counter() - started)


WAYS = {
    "fine-tuning": {
        "bertwright": our_finetuning,
        "bertwright, stepping words that nobody read": our_finetuning_of_whole_tables,
        "Trainer, defaults, padded to 128": their_finetuning_as_run_glue,
        "Trainer, defaults, padded to a batch's longest": their_finetuning,
        "Trainer, best flags": their_best_finetuning,
        "Trainer, best flags, our allocator settings": their_best_finetuning_keeping_memory,
    },
    "prediction": {"bertwright": our_prediction, "pipeline, batches of 32": their_prediction},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("classifier", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="only this, and not the other")
    args = parser.parse_args()
    model = args.classifier / "model" if (args.classifier / "model").is_dir() else args.classifier
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows.taken(model, args.file, args.rows, Path(folder))
        print(f"{len(rows.texts())} rows, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}\n")
        print("| | | rows/s | ours is faster by |\n|---|---|--:|--:|")
        fresh = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1)
        with fresh as processes:
            for kind in [args.only] if args.only else WAYS:
                found: dict[str, list[float]] = {name: [] for name in WAYS[kind]}
                for _ in range(args.rounds):
                    for name, way in WAYS[kind].items():
                        found[name].append(processes.submit(way, rows).result())
                ours = statistics.median(found["bertwright"])
                for name, speeds in found.items():
                    middle = statistics.median(speeds)
                    spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
                    print(f"| {kind} | {name} | {middle:,.0f} ({spread}) | {ours / middle:.2f} |", flush=True)


if __name__ == "__main__":
    main()
