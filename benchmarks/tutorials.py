"""How long a tutorial's training takes with `transformers`' names from `transformers` and from `bertwright`, in turns.

    python benchmarks/tutorials.py TEXT ROWS TAGGED TOKENIZER [--steps 40] [--rounds 3] [--bf16]

TEXT has a line an example, ROWS (.jsonl) a text and a label, TAGGED tokens and tags, TOKENIZER is a folder. Both train
BERT mini in batches of 32 and the same arguments, padded to the longest of a batch: masked LM over lines, masked LM
with next sentence and with the same sentence (over bertwright's pairs, for there are no others), a classifier, a
tagger. Printed: the medians of seconds a step, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any

import bertwright
from bertwright.text.formats import read_rows

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from datasets import Dataset

transformers.logging.set_verbosity_error()
NAMES = {"transformers": transformers, "bertwright": bertwright}
SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


def data_of(args: argparse.Namespace, tokenizer: Any) -> dict[str, tuple[Any, str, str]]:
    """By training: the examples, the model's class and the collator's."""
    rows = [*read_rows(args.rows)]
    labels = sorted({str(row["label"]) for row in rows})
    encoded = [
        {**tokenizer(str(row["text"]), truncation=True, max_length=128), "labels": labels.index(str(row["label"]))}
        for row in rows
    ]
    own = {"tokenizer": tokenizer, "file_path": args.text, "block_size": 128}
    collator, tagged = "DataCollatorForLanguageModeling", tagged_data(args.tagged, tokenizer)
    pairs = {
        "masked LM and next sentence": bertwright.TextDatasetForNextSentencePrediction(**own),
        "masked LM and the same sentence": bertwright.TextDatasetForSameSentencePrediction(**own),
    }
    return {
        "masked LM over lines": (bertwright.LineByLineTextDataset(**own), "BertForMaskedLM", collator),
        **{name: (data, "BertForPreTraining", collator) for name, data in pairs.items()},
        "a classifier": (Dataset.from_list(encoded), "BertForSequenceClassification", "DataCollatorWithPadding"),
        "a tagger": (tagged, "BertForTokenClassification", "DataCollatorForTokenClassification"),
    }


def tagged_data(file: str, tokenizer: Any) -> Dataset:
    """A label for the first token of each word."""
    rows = [*read_rows(file)]
    tags = sorted({tag for row in rows for tag in row["tags"]})
    features = []
    for row in rows:
        said = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=128)
        words = said.word_ids()
        firsts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        labels = [tags.index(row["tags"][word]) if first else -100 for first, word in zip(firsts, words, strict=True)]
        features.append({**said, "labels": labels})
    return Dataset.from_list(features)


def seconds_a_step(names: Any, data: Any, kind: str, collator: str, tokenizer: Any, args: argparse.Namespace) -> float:
    """Of a run after one of a few steps, which sets up what is set up once."""
    config = transformers.BertConfig(vocab_size=len(tokenizer), num_labels=32, **SIZES)
    for steps in (5, args.steps):
        transformers.set_seed(1)
        home = tempfile.mkdtemp()
        arguments = names.TrainingArguments(
            home, max_steps=steps, per_device_train_batch_size=32, learning_rate=1e-4, save_strategy="no",
            logging_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, bf16=args.bf16,
        )  # fmt: skip
        model, collate = getattr(names, kind)(config), getattr(names, collator)(tokenizer)
        trainer = names.Trainer(model=model, args=arguments, data_collator=collate, train_dataset=data)
        started = time.perf_counter()
        trainer.train()
        taken = time.perf_counter() - started
        shutil.rmtree(home)
    return taken / args.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("rows")
    parser.add_argument("tagged")
    parser.add_argument("tokenizer")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.tokenizer)
    print("| training | transformers, s a step | bertwright | times as fast |\n|---|--:|--:|--:|")
    for training, (data, kind, collator) in data_of(args, tokenizer).items():
        taken: dict[str, list[float]] = {who: [] for who in NAMES}
        for _ in range(args.rounds):
            for who, names in NAMES.items():
                taken[who].append(seconds_a_step(names, data, kind, collator, tokenizer, args))
        theirs, ours = (statistics.median(values) for values in taken.values())
        print(f"| {training} | {theirs:.3f} | {ours:.3f} | {theirs / ours:.1f} |", flush=True)
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
