"""A run that was broken off and gone on with ends with the same weights, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Examples, hide, losses, model, trainer, weights
from torch.utils.data import IterableDataset

from bertwright.errors import CheckpointError, RunError


def run(home: Path, resume: Any = None, **more: Any) -> Any:
    whole = model(dropout=0.1)
    settings = {"max_steps": 9, "save_strategy": "steps", "save_steps": 5, "gradient_accumulation_steps": 2}
    settings |= {"data_collator": hide, "per_device_train_batch_size": 3}
    one = trainer(home, whole, Examples(size=20), **settings | more)
    one.train(resume_from_checkpoint=resume)
    return one


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "muon", "adafactor", "rmsprop"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, optim: str) -> None:
    """With dropout and with masks that the collator draws, in the middle of an epoch."""
    whole = run(tmp_path, optim=optim)
    torch.rand(7)
    again = run(tmp_path, str(tmp_path / "checkpoint-5"), optim=optim)
    assert losses(again) == losses(whole)
    for name, tensor in weights(whole.model).items():
        assert torch.equal(tensor, weights(again.model)[name]), name


def test_workers_draw_what_a_single_process_draws(tmp_path: Path) -> None:
    one = run(tmp_path / "one", max_steps=3, save_strategy="no")
    two = run(tmp_path / "two", max_steps=3, save_strategy="no", dataloader_num_workers=2)
    assert losses(one) == losses(two)


def test_true_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no checkpoint-N"):
        run(tmp_path, True)
    whole = run(tmp_path, save_total_limit=1)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-9"]
    assert run(tmp_path, True).state.global_step == whole.state.global_step


def test_a_checkpoint_of_another_make_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    wider = model(num_labels=2, type_vocab_size=5)
    with pytest.raises(CheckpointError, match=r"of a BertForMaskedLM, and the model is a BertForMaskedLM: .*\[5, 16\]"):
        trainer(tmp_path, wider, max_steps=9).train(resume_from_checkpoint=True)


def test_a_folder_with_another_run_is_not_written_over(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(RunError, match=r"holds another run \(with checkpoint-9\).*overwrite_output_dir=True"):
        run(tmp_path)
    with pytest.warns(FutureWarning, match="overwrite_output_dir"):
        run(tmp_path, max_steps=2, save_steps=2, overwrite_output_dir=True)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


class Shuffled(IterableDataset[Any]):
    """A stream of 12 rows, each time that it begins in an order of its own; it says which were asked for."""

    def __init__(self) -> None:
        self.epoch, self.told = 0, []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.told.append(epoch)

    def __iter__(self) -> Any:
        rows = Examples(size=12).rows
        yield from (rows[(at * 5 + self.epoch) % 12] for at in range(12))


def test_a_stream_is_told_how_often_it_has_begun(tmp_path: Path) -> None:
    """And goes on from there: three steps of four rows are once through it."""
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 5, "per_device_train_batch_size": 4}
    whole = trainer(tmp_path, model(), Shuffled(), **settings)
    whole.train()
    assert whole.train_dataset.told == [0, 1, 2]
    again = trainer(tmp_path, model(), Shuffled(), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert again.train_dataset.told == [0, 1, 2]
    for name, tensor in weights(whole.model).items():
        assert torch.equal(tensor, weights(again.model)[name]), name


def test_intervals_are_those_of_the_arguments_that_go_on(tmp_path: Path) -> None:
    trainer(tmp_path, max_steps=4, save_strategy="steps", save_steps=2, logging_steps=2).train()
    again = trainer(tmp_path, max_steps=9, save_strategy="steps", save_steps=3, logging_steps=1)
    again.train(resume_from_checkpoint=True)
    assert sorted(int(path.name.removeprefix("checkpoint-")) for path in tmp_path.glob("checkpoint-*")) == [2, 4, 6, 9]
    assert [line["step"] for line in again.state.log_history if "loss" in line] == [2, 4, 5, 6, 7, 8, 9]


def test_a_run_of_the_command_line_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(RunError, match=r"is a run of `bertwright pretrain` or `finetune`; choose another output_dir$"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_no_pickle_is_written(tmp_path: Path) -> None:
    run(tmp_path)
    assert {path.suffix for path in (tmp_path / "checkpoint-5").iterdir()} == {".json", ".safetensors"}
