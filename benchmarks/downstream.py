"""Fine-tuning and prediction beside transformers: rows a second of each, on the same classifier and the same rows.

    python benchmarks/downstream.py CLASSIFIER ROWS.jsonl [--rows 2000] [--rounds 3]

CLASSIFIER is a checkpoint fine-tuned with `bertwright finetune --task classify`, ROWS has its texts and labels.
Fine-tuning is timed over one pass of `--rows` rows: ours in batches of 32, the Trainer at its defaults (batches of 8,
padded to the longest of each) and at its best flags (batches of 32 of like length, bf16, fused AdamW). Prediction: ours
as `bertwright predict` does, and `transformers.pipeline` in batches of 32. In alternation; medians, ratios to ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from datasets import Dataset

from bertwright.run.answering import Answerer
from bertwright.run.choose import task_of, with_defaults
from bertwright.run.sources import open_source
from bertwright.run.spec import Recipe
from bertwright.run.start import begin
from bertwright.run.training import loop_of
from bertwright.text.formats import read_rows
from bertwright.train.memory import keep_memory

transformers.logging.set_verbosity_error()


def our_finetuning(model: Path, file: Path, rows: int, out: Path) -> float:
    recipe = Recipe.of(
        {
            "out": str(out),
            "task": "classify",
            "data": {"train": str(file), "dev": str(file)},
            "encoder": {"start": str(model)},
            "train": {"epochs": 1.0},
        }
    )
    source = open_source(recipe, task_of("classify", {}))
    built, _ = begin(recipe, source.task, source.tokenizer)
    recipe = with_defaults(recipe, source.task, built.encoder.config.hidden_size)
    built.set_dropout(recipe.train.dropout or 0.0)
    steps = -(-rows // (recipe.train.batch_size or 32))
    loop = loop_of(recipe, built, source.feed(recipe), steps)
    started = time.perf_counter()
    for _ in loop.steps(steps):
        pass
    return rows / (time.perf_counter() - started)


def their_finetuning(model: Path, data: Dataset, out: Path, **flags: Any) -> float:
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    columns = data.map(lambda one: tokenizer(one["text"], truncation=True, max_length=128), batched=True)
    arguments = transformers.TrainingArguments(
        str(out), num_train_epochs=1, use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True, **flags,
    )  # fmt: skip
    trainer = transformers.Trainer(
        classifier,
        arguments,
        train_dataset=columns,
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    started = time.perf_counter()
    trainer.train()
    return len(data) / (time.perf_counter() - started)


def our_prediction(model: Path, texts: list[str]) -> float:
    answerer = Answerer(str(model))
    started = time.perf_counter()
    answered = sum(1 for _ in answerer.predict({"text": text} for text in texts))
    return answered / (time.perf_counter() - started)


def their_prediction(model: Path, texts: list[str]) -> float:
    pipe = transformers.pipeline("text-classification", model=str(model))
    started = time.perf_counter()
    answered = sum(1 for _ in pipe(texts, batch_size=32, truncation=True))
    return answered / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("classifier", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_memory()
    model = args.classifier / "model" if (args.classifier / "model").is_dir() else args.classifier
    rows = list(islice(read_rows(args.file), args.rows))
    texts = [row["text"] for row in rows]
    labels = Answerer(str(model)).model.encoder.config.label2id
    data = Dataset.from_list([{"text": row["text"], "label": labels[str(row["label"])]} for row in rows])
    best = {
        "per_device_train_batch_size": 32,
        "bf16": True,
        "train_sampling_strategy": "group_by_length",
        "optim": "adamw_torch_fused",
    }
    with tempfile.TemporaryDirectory() as folder:
        out, file = Path(folder), Path(folder) / "rows.jsonl"
        data.map(lambda one: {"label": next(k for k, v in labels.items() if v == one["label"])}).to_json(file)
        kinds: dict[str, dict[str, Callable[[], float]]] = {
            "fine-tuning": {
                "bertwright": lambda: our_finetuning(model, file, len(rows), out),
                "Trainer, defaults": lambda: their_finetuning(model, data, out),
                "Trainer, best flags": lambda: their_finetuning(model, data, out, **best),
            },
            "prediction": {
                "bertwright": lambda: our_prediction(model, texts),
                "pipeline, batches of 32": lambda: their_prediction(model, texts),
            },
        }
        print(f"{len(rows)} rows, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}\n")
        print("| | | rows/s | of ours |\n|---|---|--:|--:|")
        for kind, ways in kinds.items():
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(args.rounds):
                for name, way in ways.items():
                    found[name].append(way())
            ours = statistics.median(found["bertwright"])
            for name, speeds in found.items():
                middle = statistics.median(speeds)
                print(f"| {kind} | {name} | {middle:,.0f} | {middle / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
