"""How a step is split into micro-batches changes neither its gradient nor the loss that is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Examples, losses, model, trainer, weights
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    PreTrainedModel,
)

from bertwright.hf.trainer import Trainer

KINDS = [BertForMaskedLM, BertForPreTraining, BertForSequenceClassification, BertForQuestionAnswering]
SPLITS = [(16, 1), (4, 4), (2, 8)]


class OwnLoss(Trainer):
    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
        outputs = model(**inputs)
        return (outputs.loss * 2, outputs) if return_outputs else outputs.loss * 2


class OwnStep(Trainer):
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        return super().training_step(model, inputs, num_items_in_batch)


def one_step(
    home: Path, kind: type[PreTrainedModel], size: int, times: int, by: type[Trainer] = Trainer, **more: Any
) -> tuple[dict[str, torch.Tensor], float]:
    """What a step of gradient descent moves, and the logged loss."""
    whole = model(kind)
    before = weights(whole)
    one = trainer(
        home,
        whole,
        Examples(kind),
        by,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=times,
        max_steps=1,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        learning_rate=1.0,
        **more,
    )
    one.train()
    after = weights(whole)
    return {name: before[name] - after[name] for name in before}, losses(one)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_changes_neither_the_gradient_nor_the_logged_loss(kind: type[PreTrainedModel], tmp_path: Path) -> None:
    whole, loss = one_step(tmp_path, kind, *SPLITS[0])
    assert max(float(x.abs().max()) for x in whole.values()) > 1e-3
    with torch.no_grad():
        rows = Examples(kind).rows
        right = model(kind)(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}).loss
    assert loss == pytest.approx(float(right), abs=1e-6)
    for size, times in SPLITS[1:]:
        split, same = one_step(tmp_path, kind, size, times)
        assert same == pytest.approx(loss, abs=1e-6)
        for name in whole:
            torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("by", [OwnLoss, OwnStep])
def test_a_split_changes_nothing_of_what_a_subclass_says(by: type[Trainer], tmp_path: Path) -> None:
    whole, loss = one_step(tmp_path, BertForMaskedLM, 16, 1, by)
    split, same = one_step(tmp_path, BertForMaskedLM, 4, 4, by)
    plain, half = one_step(tmp_path, BertForMaskedLM, 4, 4)
    assert same == pytest.approx(loss, abs=1e-6)
    assert loss == pytest.approx(half * (2 if by is OwnLoss else 1), abs=1e-6)
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=2e-6, msg=name)
        torch.testing.assert_close(split[name], plain[name] * (2 if by is OwnLoss else 1), rtol=1e-5, atol=2e-6)


def test_smoothed_labels_are_split_alike(tmp_path: Path) -> None:
    whole, loss = one_step(tmp_path, BertForMaskedLM, 16, 1, label_smoothing_factor=0.1)
    split, same = one_step(tmp_path, BertForMaskedLM, 4, 4, label_smoothing_factor=0.1)
    plain, _ = one_step(tmp_path, BertForMaskedLM, 16, 1)
    assert same == pytest.approx(loss, abs=1e-6)
    assert max(float((whole[name] - plain[name]).abs().max()) for name in whole) > 1e-3
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_an_evaluation_does_not_depend_on_the_batch_size(
    kind: type[PreTrainedModel], tmp_path: Path
) -> None:
    found = [
        trainer(tmp_path, model(kind), per_device_eval_batch_size=size).evaluate(Examples(kind))["eval_loss"]
        for size in (16, 5, 1)
    ]
    assert found == pytest.approx([found[0]] * 3, abs=1e-6)
