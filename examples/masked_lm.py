"""Masked LM from scratch, a text line an example, with a tokenizer learned by `tokenizers`.

python examples/masked_lm.py --text corpus.txt --out runs/masked-lm --epochs 3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

from bertwright import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    LineByLineTextDataset,
    Trainer,
    TrainingArguments,
)

TALES = Path(__file__).parent / "data" / "tales.txt"


def main(argv: Sequence[str] | None = None) -> Trainer:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", default=str(TALES))
    parser.add_argument("--out", default="runs/masked-lm")
    parser.add_argument("--epochs", type=float, default=30)
    options = parser.parse_args(argv)

    learned = BertWordPieceTokenizer(lowercase=True)
    learned.train([options.text], vocab_size=1000, min_frequency=1, show_progress=False)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    learned.save_model(options.out)
    tokenizer = BertTokenizerFast.from_pretrained(options.out)

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    model = BertForMaskedLM(config=BertConfig(vocab_size=len(tokenizer), **sizes))
    print(f"{model.num_parameters():,} parameters")

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"{options.out}/arguments",
            overwrite_output_dir=True,
            num_train_epochs=options.epochs,
            per_gpu_train_batch_size=8,
            learning_rate=2e-3,
            logging_steps=10,
            save_steps=10_000,
            prediction_loss_only=True,
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=True, mlm_probability=0.15),
        train_dataset=LineByLineTextDataset(tokenizer=tokenizer, file_path=options.text, block_size=128),
    )
    trainer.train()
    trainer.save_model(f"{options.out}/model")
    return trainer


if __name__ == "__main__":
    main()
