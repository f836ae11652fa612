"""BERT's own pretraining from scratch: masked LM and next sentence.

python examples/next_sentence.py --text corpus.txt --out runs/next-sentence --epochs 3
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
    DataCollatorForNextSentencePrediction,
    TextDatasetForNextSentencePrediction,
    Trainer,
    TrainingArguments,
)

TALES = Path(__file__).parent / "data" / "tales.txt"


def main(argv: Sequence[str] | None = None) -> Trainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", default=str(TALES), help="a sentence a line, blank lines between documents")
    parser.add_argument("--out", default="runs/next-sentence")
    parser.add_argument("--epochs", type=float, default=60)
    options = parser.parse_args(argv)

    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train([options.text], vocab_size=1000, min_frequency=1, show_progress=False)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    learned.save_model(options.out)
    tokenizer = BertTokenizerFast.from_pretrained(options.out)

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    pairs = TextDatasetForNextSentencePrediction(
        tokenizer=tokenizer, file_path=options.text, block_size=64, nsp_probability=0.5
    )
    trainer = Trainer(
        model=BertForPreTraining(BertConfig(vocab_size=len(tokenizer), **sizes)),
        args=TrainingArguments(
            output_dir=f"{options.out}/arguments",
            overwrite_output_dir=True,
            num_train_epochs=options.epochs,
            per_gpu_train_batch_size=8,
            learning_rate=2e-3,
            warmup_ratio=0.1,
            logging_steps=10,
            save_steps=10_000,
        ),
        data_collator=DataCollatorForNextSentencePrediction(tokenizer=tokenizer, mlm_probability=0.15),
        train_dataset=pairs,
    )
    trainer.train()
    trainer.save_model(f"{options.out}/model")
    return trainer


if __name__ == "__main__":
    main()
