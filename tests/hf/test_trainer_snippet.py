"""The code that a person brings along runs with bertwright's import line alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import Examples, model, trainer
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertTokenizer,
    DataCollatorWithPadding,
    default_data_collator,
)


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForPreTraining])
def test_it_runs_as_it_stands(kind: Any, tmp_path: Path) -> None:
    from bertwright import Trainer, TrainingArguments

    with pytest.warns(FutureWarning) as warned:
        training_args = TrainingArguments(
            output_dir=str(tmp_path / "arguments"),
            overwrite_output_dir=True,
            num_train_epochs=2,
            per_gpu_train_batch_size=16,
            save_steps=10_000,
            save_total_limit=2,
            prediction_loss_only=True,
        )
    assert len(warned) == 2
    own = model(kind)
    data = Examples(kind, 40)
    trainer = Trainer(model=own, args=training_args, data_collator=default_data_collator, train_dataset=data)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    assert trainer.state.global_step == 6
    again = kind.from_pretrained(tmp_path / "model")
    assert all((a == b).all() for a, b in zip(own.parameters(), again.parameters(), strict=True))


def test_the_collators_tokenizer_is_saved_with_the_model(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(97 + letter) for letter in range(26))]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    collator = DataCollatorWithPadding(tokenizer)
    one = trainer(tmp_path, model(), Examples(size=4), data_collator=collator, max_steps=1)
    one.save_model(str(tmp_path / "model"))
    assert BertTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tokenizer.get_vocab()
