"""Every task on real sets, from one pretrained model, beside transformers' fine-tuning of the same checkpoint.

    python benchmarks/tasks.py CHECKPOINT TASKS --out DIR [--epochs 3] [--seeds 3] [--rows 2000] [--jobs 2] [SET ...]

CHECKPOINT is what `bertwright pretrain` left, TASKS a folder of sets. Ours is `bertwright finetune` as it is; theirs is
the Trainer with the same rate, batches, epochs, schedule and dropout, the features made as in transformers' own
examples. Both learn from the same `--rows` rows (of questions, which are long, a quarter) and are measured by the same
code on the same test rows, half as many. Printed, and kept in DIR/table.md after each set: the mean of each over the
seeds, with the half-width of its 95 % interval, and whether the difference of the means is within the interval of the
difference. The same command again goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from datasets import Dataset
from side_by_side import Facts, sampled, side_by_side, threads_each

from bertwright.run.answering import Answerer
from bertwright.run.intervals import student
from bertwright.run.run import run
from bertwright.run.spec import Recipe
from bertwright.text.formats import read_rows

transformers.logging.set_verbosity_error()

SETS = {
    "sst2": ("classify", "accuracy"),
    "trec": ("classify", "accuracy"),
    "cola": ("classify", "matthews"),
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
SMALLER = {"span": 4}
"""A question has several windows, each as long as can be."""
JUDGED = 2
"""Test rows are as many as training rows, divided by this."""
LENGTH = 128
STRIDE = 64
Row = Mapping[str, Any]
Features = Callable[[Any, Sequence[Row], Mapping[str, int]], list[dict[str, Any]]]


class Quiet:
    def say(self, text: str) -> None: ...

    def step(self, done: int, steps: int, numbers: Mapping[str, float]) -> None: ...


class Files(NamedTuple):
    """What both sides learn from and are judged on, and a few of the latter, which pick no checkpoint."""

    train: Path
    test: Path
    few: Path


def files_of(name: str, args: argparse.Namespace) -> Files:
    """Those of a set, written into the folder of results; the dev split is judged on where there is no test."""
    folder, home = args.tasks / name, args.out / "rows" / name
    judged = next(file for split in ("test", "dev") if (file := folder / f"{split}.jsonl.gz").is_file())
    most = args.rows // SMALLER.get(SETS[name][0], 1)
    sizes = {"train": most, "test": -(-most // JUDGED), "few": 50}
    return Files(
        *(sampled(judged if part != "train" else folder / "train.jsonl.gz", size, home / f"{part}.jsonl")
          for part, size in sizes.items())
    )  # fmt: skip


def ours(checkpoint: Path, task: str, files: Files, epochs: float, seed: int, home: Path) -> Recipe:
    """Fine-tunes on all of the rows, and gives the recipe with every default filled in; the last model is kept."""
    tables = {
        "out": str(home),
        "task": task,
        "seed": seed,
        "tasks": {task: SETTINGS.get(task, {})},
        "data": {"train": str(files.train), "dev": str(files.few), "length": LENGTH},
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
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    model.save_pretrained(recipe.out)
    tokenizer.save_pretrained(recipe.out)
    shutil.copy(mine / "bertwright.json", recipe.out)  # which columns the task reads


def measured(name: str, args: argparse.Namespace) -> Facts:
    """What ours and theirs come to on a set from a seed, in per cent; `name` is SET-SEED."""
    kind, _, seed = name.rpartition("-")
    task, measure = SETS[kind]
    files = files_of(kind, args)
    home, other = args.out / name, args.out / f"{name}-theirs"
    started = time.perf_counter()
    recipe = ours(args.checkpoint, task, files, args.epochs, int(seed), home)
    between = time.perf_counter()
    start = args.checkpoint / "model" if (args.checkpoint / "model").is_dir() else args.checkpoint
    rows = list(read_rows(files.train))
    theirs(start, home / "model", Recipe.of({**recipe.tables(), "out": str(other)}), rows, args.epochs)
    took = {"ours": between - started, "theirs": time.perf_counter() - between}
    scores = {}
    for who, model in (("ours", home), ("theirs", other)):
        report = Answerer(str(model)).evaluate_rows(read_rows(files.test))
        scores[who] = 100 * report[f"{task}.{measure}"]
    print(f"  {name}:", *(f"{who} {scores[who]:.2f} in {took[who]:.0f} s" for who in scores), flush=True)
    return scores


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


def written(found: Mapping[str, Facts], args: argparse.Namespace) -> str:
    """The table of the sets that were measured from two seeds or more."""
    rows = f"{args.rows} rows" if args.rows else "all rows"
    how = f"{args.epochs:g} epochs of {rows}, {args.seeds} seeds, {threads_each(args.jobs)}"
    lines = [f"{how}, {time.strftime('%Y-%m-%d')}", "", "| set | task, measure | ours | theirs | difference | |"]
    lines += ["|---|---|--:|--:|--:|---|"]
    for name in args.names:
        seeds = [found[unit] for seed in range(1, args.seeds + 1) if (unit := f"{name}-{seed}") in found]
        if len(seeds) > 1:
            lines.append(row(name, ", ".join(SETS[name]), *([one[who] for one in seeds] for who in ("ours", "theirs"))))
    return "\n".join([*lines, ""])


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("names", nargs="*", default=tuple(SETS), metavar="SET")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="the most training rows of a set; 0: all")
    parser.add_argument("--jobs", type=int, default=1, help="so many fine-tunings at a time, which share the threads")
    return parser.parse_intermixed_args()


def main() -> None:
    args = asked()
    args.out.mkdir(parents=True, exist_ok=True)
    units = [f"{name}-{seed}" for seed in range(1, args.seeds + 1) for name in args.names]
    one = argparse.Namespace(**{key: value for key, value in vars(args).items() if key != "seeds"})
    found: dict[str, Facts] = {}
    for name, scores in side_by_side(measured, units, one, args.jobs):
        found[name] = scores
        (args.out / "table.md").write_text(written(found, args), encoding="utf-8")
    print("\n" + written(found, args))


if __name__ == "__main__":
    main()
