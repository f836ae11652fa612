"""The code that a person brings along runs with bertwright's import line alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import Examples, model
from transformers import BertForMaskedLM, BertForPreTraining, default_data_collator


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
