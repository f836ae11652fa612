"""Every task on real sets, from one pretrained model, beside transformers' fine-tuning of the same checkpoint.

    python benchmarks/tasks.py CHECKPOINT TASKS --out DIR [--epochs 3] [--seeds 3] [SET ...]

CHECKPOINT is what `bertwright pretrain` left, TASKS a folder of sets. Ours is `bertwright finetune` as it is; theirs is
the Trainer with the same rate, batches, epochs, schedule and dropout, the features made as in transformers' own
examples. Both models are measured by the same code on the test rows. Printed: the mean of each over the seeds, with the
half-width of its 95 % interval, and whether the difference of the means is within the interval of the difference.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from datasets import Dataset

from bertwright.run.answering import Answerer
from bertwright.run.intervals import student
from bertwright.run.run import run
from bertwright.run.spec import Recipe
from bertwright.text.formats import read_rows

transformers.logging.set_verbosity_error()

SETS = {
    "sst2": ("classify", "accuracy"),
    "trec": ("classify", "accuracy"),
    "cola": ("classify", "accuracy"),
    "scicite": ("classify", "macro_f1"),
    "mrpc": ("pair", "accuracy"),
    "sick": ("pair", "accuracy"),
    "stsb": ("regress", "spearman"),
    "ud_en_ewt": ("tag", "accuracy"),
    "wnut17": ("tag", "f1"),
    "squad_small": ("span", "f1"),
    "ru_avito": ("classify", "accuracy"),
    "factrueval": ("tag", "f1"),
    "xquad_ru": ("span", "f1"),
}
"""The task of each set, and the measure that is compared."""
SETTINGS = {"regress": {"first": "text_a", "second": "text_b"}}
CLASSES = {"tag": "TokenClassification", "span": "QuestionAnswering"}
LENGTH = 128
STRIDE = 64
Row = Mapping[str, Any]
Features = Callable[[Any, Sequence[Row], Mapping[str, int]], list[dict[str, Any]]]


class Quiet:
    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None: ...


def judged_on(folder: Path) -> Path:
    """The test split, or the dev one where there is no other: neither picks a checkpoint."""
    test = folder / "test.jsonl.gz"
    return test if test.is_file() else folder / "dev.jsonl.gz"


def ours(checkpoint: Path, task: str, folder: Path, epochs: float, seed: int, home: Path) -> Recipe:
    """Fine-tunes on all training rows, and gives the recipe with every default filled in; the last model is kept."""
    tables = {
        "out": str(home),
        "task": task,
        "seed": seed,
        "tasks": {task: SETTINGS.get(task, {})},
        "data": {"train": str(folder / "train.jsonl.gz"), "dev": str(judged_on(folder)), "length": LENGTH},
        "encoder": {"start": str(checkpoint)},
        "train": {"epochs": epochs},
        "save": {"model": "last"},
    }
    run(Recipe.of(tables), Quiet())
    return Recipe.read(home / "recipe.toml")


def of_text(tokenizer: Any, rows: Sequence[Row], classes: Mapping[str, int]) -> list[dict[str, Any]]:
    texts = [(row["text_a"], row["text_b"]) if "text_a" in row else (row["text"],) for row in rows]
    labels = [classes[str(row["label"])] if classes else float(row["score"]) for row in rows]
    encoded = [tokenizer(*text, truncation=True, max_length=LENGTH) for text in texts]
    return [{**one, "labels": label} for one, label in zip(encoded, labels, strict=True)]


def of_words(tokenizer: Any, rows: Sequence[Row], classes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each word's first token has its tag, the others none."""
    found = []
    for row in rows:
        one = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=LENGTH)
        words = one.word_ids()
        first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
        tags = [classes[row["tags"][word]] if is_first else -100 for word, is_first in zip(words, first, strict=True)]
        found.append({**one, "labels": tags})
    return found


def of_questions(tokenizer: Any, rows: Sequence[Row], classes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Overlapping windows of the context; where one holds no answer, both ends are at its first token."""
    found = []
    for row in rows:
        encoded = tokenizer(
            row["question"], row["context"], truncation="only_second", max_length=LENGTH, stride=STRIDE,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        answer = row["answers"][0]
        begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        for index, offsets in enumerate(encoded["offset_mapping"]):
            of_context = [place for place, part in enumerate(encoded.sequence_ids(index)) if part == 1]
            starts = [place for place in of_context if offsets[place][0] <= begin < offsets[place][1]]
            ends = [place for place in of_context if offsets[place][0] < end <= offsets[place][1]]
            both = (starts[0], ends[0]) if starts and ends else (0, 0)
            window = {key: encoded[key][index] for key in tokenizer.model_input_names}
            found.append({**window, "start_positions": both[0], "end_positions": both[1]})
    return found


FEATURES: dict[str, Features] = {"tag": of_words, "span": of_questions}


def theirs(checkpoint: Path, mine: Path, recipe: Recipe, rows: Sequence[Row], epochs: float) -> None:
    """Fine-tunes with the Trainer what our run began from, and leaves the model in the recipe's folder.

    Classes and their numbers are those of our model, `mine`, so that the same code can measure both.
    """
    task, train = recipe.task, recipe.train
    tokenizer = transformers.AutoTokenizer.from_pretrained(mine)
    config = transformers.AutoConfig.from_pretrained(mine)
    transformers.set_seed(recipe.seed)
    kind = getattr(transformers, f"AutoModelFor{CLASSES.get(task, 'SequenceClassification')}")
    model = kind.from_pretrained(checkpoint, config=config)
    classes = (
        {} if task in ("regress", "span") else {str(name): int(at) for name, at in (config.label2id or {}).items()}
    )
    data = Dataset.from_list(FEATURES.get(task, of_text)(tokenizer, rows, classes))
    collators = {"tag": transformers.DataCollatorForTokenClassification, "span": transformers.DataCollatorWithPadding}
    arguments = transformers.TrainingArguments(
        recipe.out, num_train_epochs=epochs, per_device_train_batch_size=train.batch_size or 32,
        learning_rate=train.lr or 0.0, lr_scheduler_type=train.schedule, warmup_steps=train.warmup,
        weight_decay=train.weight_decay, max_grad_norm=train.clip, adam_epsilon=1e-6, seed=recipe.seed, bf16=True,
        use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        train_sampling_strategy="group_by_length",
    )  # fmt: skip
    collator = collators.get(task, transformers.DataCollatorWithPadding)(tokenizer)
    trainer = transformers.Trainer(model, arguments, train_dataset=data, data_collator=collator)
    trainer.train()
    model.save_pretrained(recipe.out)
    tokenizer.save_pretrained(recipe.out)
    shutil.copy(mine / "bertwright.json", recipe.out)  # which columns the task reads


def compared(name: str, args: argparse.Namespace) -> str:
    """A row of the table."""
    task, measure = SETS[name]
    scores: dict[str, list[float]] = {"ours": [], "theirs": []}
    folder = args.tasks / name
    rows, test = list(read_rows(folder / "train.jsonl.gz")), judged_on(folder)
    for seed in range(1, args.seeds + 1):
        home, other = args.out / f"{name}-{seed}", args.out / f"{name}-{seed}-theirs"
        recipe = ours(args.checkpoint, task, folder, args.epochs, seed, home)
        theirs_recipe = Recipe.of({**recipe.tables(), "out": str(other)})
        start = args.checkpoint / "model" if (args.checkpoint / "model").is_dir() else args.checkpoint
        theirs(start, home / "model", theirs_recipe, rows, args.epochs)
        for who, model in (("ours", home), ("theirs", other)):
            report = Answerer(str(model)).evaluate_rows(read_rows(test))
            scores[who].append(100 * report[f"{task}.{measure}"])
        print(name, seed, {who: round(values[-1], 2) for who, values in scores.items()}, flush=True)
    return row(name, f"{task}, {measure}", scores["ours"], scores["theirs"])


def row(name: str, what: str, mine: list[float], other: list[float]) -> str:
    """Both means with their intervals, the difference with that of Student's t for two samples alike in spread."""
    number = len(mine)
    spreads = [student(number - 1) * statistics.stdev(values) / number**0.5 for values in (mine, other)]
    means = [statistics.mean(values) for values in (mine, other)]
    pooled = ((statistics.variance(mine) + statistics.variance(other)) / number) ** 0.5
    apart, half = means[0] - means[1], student(2 * number - 2) * pooled
    verdict = "equal" if abs(apart) <= half else "ours better" if apart > 0 else "theirs better"
    cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(means, spreads, strict=True)]
    return f"| {name} | {what} | {cells[0]} | {cells[1]} | {apart:+.1f} ± {half:.1f} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("sets", nargs="*", default=tuple(SETS), metavar="SET")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [compared(name, args) for name in args.sets]
    print(f"\n{args.epochs:g} epochs, {args.seeds} seeds, {time.strftime('%Y-%m-%d')}\n")
    print("| set | task, measure | ours | theirs | difference | |\n|---|---|--:|--:|--:|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
