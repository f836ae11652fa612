"""The code of a much-copied answer on how to train BERT from scratch, as it stands, with bertwright's import line.

    python examples/snippet.py --out runs/snippet

It was written for a `transformers` in which `overwrite_output_dir` and `per_gpu_train_batch_size` were arguments and
`TextDatasetForNextSentencePrediction` was a class. `model` and `dataset` are made as the question made them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from bertwright import (
    BertConfig,
    BertForPreTraining,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    TextDatasetForNextSentencePrediction,
    Trainer,
    TrainingArguments,
)

TALES = Path(__file__).parent / "data" / "tales.txt"


def main(argv: Sequence[str] | None = None) -> Trainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", default=str(TALES), help="a sentence a line, blank lines between documents")
    parser.add_argument("--out", default="runs/snippet")
    paths = parser.parse_args(argv)

    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train([paths.text], vocab_size=1000, min_frequency=1, show_progress=False)
    Path(paths.out).mkdir(parents=True, exist_ok=True)
    learned.save_model(paths.out)
    tokenizer = BertTokenizerFast.from_pretrained(paths.out)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
    )
    model = BertForPreTraining(config)
    dataset = TextDatasetForNextSentencePrediction(tokenizer=tokenizer, file_path=paths.text, block_size=64)
    data_collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=True, mlm_probability=0.15)

    training_args = TrainingArguments(
        output_dir=f"{paths.out}/arguments",
        overwrite_output_dir=True,
        num_train_epochs=2,
        per_gpu_train_batch_size=16,
        save_steps=10_000,
        save_total_limit=2,
        prediction_loss_only=True,
    )
    trainer = Trainer(model=model, args=training_args, data_collator=data_collator, train_dataset=dataset)
    trainer.train()
    trainer.save_model(f"{paths.out}/model")
    return trainer


if __name__ == "__main__":
    main()
