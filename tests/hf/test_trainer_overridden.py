"""What people write into classes of their own is heard, also as it was written for older releases."""

from __future__ import annotations

from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Examples, config, losses, trainer
from torch import nn
from transformers import BertForMaskedLM, BertForPreTraining, BertForSequenceClassification

import bertwright
from bertwright.hf.trainer import Trainer


class Weighted(bertwright.BertForSequenceClassification):
    def forward(self, input_ids: Any, labels: Any = None) -> Any:  # type: ignore[override]
        output = super().forward(input_ids)
        output.loss = 1000 * nn.functional.cross_entropy(output.logits, labels, torch.tensor([1.0, 3.0]))
        return output


class Older(Trainer):
    """Every method with the fewest arguments that it ever had."""

    heard: set[str]

    def training_step(self, model: Any, inputs: Any) -> Any:  # type: ignore[override]
        self.heard.add("training_step")
        return super().training_step(model, inputs)

    def compute_loss(self, model: Any, inputs: Any) -> Any:  # type: ignore[override]
        self.heard.add("compute_loss")
        return super().compute_loss(model, inputs)

    def log(self, logs: Any) -> None:  # type: ignore[override]
        self.heard.add("log")
        super().log(logs)

    def _get_train_sampler(self) -> Any:  # type: ignore[override]
        self.heard.add("_get_train_sampler")
        return super()._get_train_sampler()

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        self.heard.add("create_optimizer_and_scheduler")
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)
        self.create_scheduler(num_training_steps)


def ours(kind: Any) -> Any:
    torch.manual_seed(0)
    return kind(config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def test_a_forward_of_ones_own_is_what_is_trained(tmp_path: Path) -> None:
    data = Examples(BertForSequenceClassification)
    one = trainer(tmp_path, ours(Weighted), data, eval_dataset=data, learning_rate=0.0, max_steps=4)
    one.train()
    assert sum(losses(one)) / 4 == pytest.approx(one.evaluate()["eval_loss"], rel=1e-5)
    assert losses(one)[0] > 100


def test_a_hook_on_the_model_is_called_in_training(tmp_path: Path) -> None:
    whole, called = ours(bertwright.BertForMaskedLM), []
    hook = whole.register_forward_hook(lambda *_: called.append(1))
    one = trainer(tmp_path / "hooked", whole, max_steps=2)
    one.train()
    hook.remove()
    plain = trainer(tmp_path / "plain", ours(bertwright.BertForMaskedLM), max_steps=2)
    plain.train()
    assert len(called) == 2
    assert losses(one) == pytest.approx(losses(plain), rel=1e-5)


@pytest.mark.parametrize("kind", [BertForMaskedLM, bertwright.BertForMaskedLM])
def test_methods_as_older_releases_had_them(kind: Any, tmp_path: Path) -> None:
    one = trainer(tmp_path, ours(kind), kind=Older, max_steps=3, save_strategy="steps", save_steps=2)
    one.heard = set()  # type: ignore[attr-defined]
    one.train()
    assert one.heard == {name for name, said in vars(Older).items() if isfunction(said)}  # type: ignore[attr-defined]
    rates = [line["learning_rate"] for line in one.state.log_history if "learning_rate" in line]
    assert rates == pytest.approx([0.5, 0.5 * 2 / 3, 0.5 / 3])
    again = trainer(tmp_path, ours(kind), kind=Older, max_steps=3)
    again.heard = set()  # type: ignore[attr-defined]
    again.train(str(tmp_path / "checkpoint-2"))
    assert losses(again) == losses(one)


@pytest.mark.parametrize("kept", ["labels", "next_sentence_label"])
def test_one_of_two_labels_is_judged_alone(kept: str, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k in ("input_ids", kept)} for row in Examples(BertForPreTraining).rows]
    whole = ours(bertwright.BertForPreTraining)
    one = trainer(tmp_path, whole, rows, eval_dataset=rows, learning_rate=0.0, max_steps=4)
    one.train()
    assert one.evaluate()["eval_loss"] == pytest.approx(sum(losses(one)) / 4, rel=1e-2)
    assert one.predict(rows).label_ids.shape == tuple(torch.stack([row[kept] for row in rows]).shape)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # Of what torch meets on its way.
def test_compiling_reaches_the_layers_that_train(tmp_path: Path) -> None:
    torch._dynamo.utils.counters.clear()
    compiled = trainer(
        tmp_path / "compiled",
        ours(bertwright.BertForMaskedLM),
        torch_compile=True,
        torch_compile_backend="eager",
        max_steps=2,
    )
    compiled.train()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    plain = trainer(tmp_path / "plain", ours(bertwright.BertForMaskedLM), max_steps=2)
    plain.train()
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)
