"""A tagger of words, from a pretrained BERT or from random weights.

python examples/token_classification.py --start runs/masked-lm/model --out runs/names
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from bertwright import (
    BertForTokenClassification,
    BertTokenizerFast,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)

NAMES = Path(__file__).parent / "data" / "names.jsonl"


def main(argv: Sequence[str] | None = None) -> Trainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", required=True, help="a folder with a model and its tokenizer")
    parser.add_argument("--rows", default=str(NAMES), help=".jsonl with tokens and tags")
    parser.add_argument("--out", default="runs/names")
    parser.add_argument("--epochs", type=float, default=10)
    options = parser.parse_args(argv)

    tokenizer = BertTokenizerFast.from_pretrained(options.start)
    rows = Dataset.from_json(options.rows)
    tags = sorted({tag for row in rows["tags"] for tag in row})

    def labelled(row: dict[str, Any]) -> dict[str, Any]:
        said = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=128)
        words = said.word_ids()
        firsts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
        found = [tags.index(row["tags"][word]) if first else -100 for first, word in zip(firsts, words, strict=True)]
        return {**said, "labels": found}

    model = BertForTokenClassification.from_pretrained(
        options.start, id2label=dict(enumerate(tags)), label2id={tag: number for number, tag in enumerate(tags)}
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"{options.out}/arguments",
            overwrite_output_dir=True,
            num_train_epochs=options.epochs,
            per_gpu_train_batch_size=4,
            learning_rate=1e-3,
            logging_steps=4,
            save_steps=10_000,
        ),
        data_collator=DataCollatorForTokenClassification(tokenizer),
        train_dataset=rows.map(labelled, remove_columns=rows.column_names),
        tokenizer=tokenizer,
    )
    trainer.train()
    trainer.save_model(f"{options.out}/model")
    return trainer


if __name__ == "__main__":
    main()
