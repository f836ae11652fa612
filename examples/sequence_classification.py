"""A classifier of texts, from a pretrained BERT or from random weights.

python examples/sequence_classification.py --start runs/masked-lm/model --out runs/moods
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset

from bertwright import (
    BertForSequenceClassification,
    BertTokenizerFast,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

MOODS = Path(__file__).parent / "data" / "moods.jsonl"


def accuracy(said: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((np.asarray(said.predictions).argmax(-1) == said.label_ids).mean())}


def main(argv: Sequence[str] | None = None) -> Trainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--start", required=True, help="a folder with a model and its tokenizer")
    parser.add_argument("--rows", default=str(MOODS), help=".jsonl with text and label")
    parser.add_argument("--out", default="runs/moods")
    parser.add_argument("--epochs", type=float, default=10)
    options = parser.parse_args(argv)

    tokenizer = BertTokenizerFast.from_pretrained(options.start)
    rows = Dataset.from_json(options.rows).map(lambda row: tokenizer(row["text"], truncation=True, max_length=128))
    parts = rows.train_test_split(0.2, seed=1)
    trainer = Trainer(
        model=BertForSequenceClassification.from_pretrained(options.start, num_labels=len(set(rows["label"]))),
        args=TrainingArguments(
            output_dir=f"{options.out}/arguments",
            overwrite_output_dir=True,
            evaluation_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            save_total_limit=1,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=4,
            learning_rate=1e-3,
            logging_steps=4,
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=parts["train"],
        eval_dataset=parts["test"],
        tokenizer=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model(f"{options.out}/model")
    return trainer


if __name__ == "__main__":
    main()
