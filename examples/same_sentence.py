"""Same-sentence prediction, whole: a BERT pretrained on masked LM and on whether two halves are of one sentence
(Sonmezoz and Amasyali, ASYU 2021), and a classifier from it.

    python examples/same_sentence.py --text corpus.txt --out runs/same-sentence --epochs 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from tokenizers import BertWordPieceTokenizer

from bertwright import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    TextDatasetForSameSentencePrediction,
    Trainer,
    TrainingArguments,
)

DATA = Path(__file__).parent / "data"


def arguments(out: str, epochs: float, rate: float) -> TrainingArguments:
    return TrainingArguments(
        output_dir=out,
        overwrite_output_dir=True,
        num_train_epochs=epochs,
        per_gpu_train_batch_size=8,
        learning_rate=rate,
        logging_steps=10,
        save_steps=10_000,
        save_total_limit=2,
    )


def main(argv: Sequence[str] | None = None) -> tuple[Trainer, Trainer]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--text", default=str(DATA / "tales.txt"), help="a sentence a line, blank lines between documents"
    )
    parser.add_argument("--rows", default=str(DATA / "moods.jsonl"), help=".jsonl with text and label")
    parser.add_argument("--out", default="runs/same-sentence")
    parser.add_argument("--epochs", type=float, default=60)
    options = parser.parse_args(argv)

    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train([options.text], vocab_size=1000, min_frequency=1, show_progress=False)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    learned.save_model(options.out)
    tokenizer = BertTokenizerFast.from_pretrained(options.out)

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    pretrained = f"{options.out}/pretrained"
    first = Trainer(
        model=BertForPreTraining(BertConfig(vocab_size=len(tokenizer), **sizes)),
        args=arguments(f"{options.out}/pretraining", options.epochs, 2e-3),
        data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=True, mlm_probability=0.15),
        train_dataset=TextDatasetForSameSentencePrediction(tokenizer=tokenizer, file_path=options.text, block_size=64),
    )
    first.train()
    first.save_model(pretrained)

    rows = Dataset.from_json(options.rows).map(lambda row: tokenizer(row["text"], truncation=True, max_length=128))
    second = Trainer(
        model=BertForSequenceClassification.from_pretrained(pretrained, num_labels=len(set(rows["label"]))),
        args=arguments(f"{options.out}/finetuning", 10, 1e-3),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows,
        tokenizer=tokenizer,
    )
    second.train()
    second.save_model(f"{options.out}/model")
    return first, second


if __name__ == "__main__":
    main()
