"""A `bertwright.Model` with a token store under the Trainer is the run of `bertwright pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import runs
import torch
from transformers import TrainerCallback

from bertwright.data.store import TokenStore
from bertwright.encoders.base import Encoder
from bertwright.errors import RunError
from bertwright.hf.arguments import ArgumentError, TrainingArguments
from bertwright.hf.native import recipe_of
from bertwright.hf.trainer import Trainer
from bertwright.run.provenance import Provenance
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model
from bertwright.tasks.nsp import NextSentence


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_store(tmp_path_factory.mktemp("native"), runs.documents(24))


def model(store: Path, start: Path | None = None) -> Model:
    size = TokenStore(store).vocab_size
    encoder = Encoder.from_pretrained(start) if start else Encoder.from_config("tiny", vocab_size=size, seed=1)
    return Model(encoder, MaskedLM() + NextSentence())


def test_it_ends_with_the_weights_of_the_command(store: Path, tmp_path: Path) -> None:
    settings = {"train.steps": 4, "train.batch_size": 8, "train.lr": 2e-3, "evaluate.every": 2, "encoder.size": "tiny"}
    tables = {"out": str(tmp_path / "command"), "task": "mlm+nsp", "data.store": str(store)} | settings
    command = runs.done(runs.nested(tables))
    args = TrainingArguments(
        str(tmp_path / "trainer"), max_steps=4, per_device_train_batch_size=8, learning_rate=2e-3, eval_steps=2
    )
    whole = model(store)
    heard: list[dict[str, Any]] = []

    class Listening(TrainerCallback):
        steps: ClassVar[list[tuple[int, int]]] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.steps.append((0, state.max_steps))

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.steps.append((state.global_step, state.max_steps))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            heard.append(logs)

    one = Trainer(whole, args, train_dataset=TokenStore(store), callbacks=[Listening()])
    output = one.train()
    said = Provenance.read(command / "model").heldout  # type: ignore[union-attr]
    metrics = one.evaluate()
    assert {name: metrics[f"eval_{name}"] for name in said} == pytest.approx(said, rel=1e-4)
    assert metrics["eval_loss"] == pytest.approx(said["mlm.loss"] + said["nsp.loss"], rel=1e-4)
    assert heard[-1] is metrics
    assert Listening.steps == [(step, 4) for step in range(5)]
    assert runs.same_weights(command, tmp_path / "trainer")
    assert output.global_step == 4
    assert output.training_loss > 0
    assert [logs["mlm.loss"] for logs in heard if "mlm.loss" in logs]
    one.save_model(str(tmp_path / "copy"))
    stored = runs.weights(tmp_path / "copy")
    names = whole.hf_names()
    assert all(torch.equal(stored[names[own]], p) for own, p in whole.named_parameters() if names[own] in stored)
    assert Provenance.read(tmp_path / "copy").kind == "pretraining from scratch"  # type: ignore[union-attr]
    going_on = Trainer(model(store, tmp_path / "copy"), TrainingArguments(str(tmp_path / "more"), max_steps=1))
    going_on.train_dataset = TokenStore(store)
    going_on.train()
    assert Provenance.read(tmp_path / "more" / "model").kind == "continued pretraining"  # type: ignore[union-attr]


def test_it_logs_as_often_as_the_arguments_say(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And at the last step; each step is heard of, and in the run's own metrics."""
    often = {"logging_strategy": "steps", "logging_steps": 2, "per_device_train_batch_size": 4}
    args = TrainingArguments(str(tmp_path / "run"), max_steps=5, eval_steps=5, **often)
    one = Trainer(model(store), args, train_dataset=TokenStore(store))
    one.train()
    assert [line["step"] for line in one.state.log_history if "lr" in line] == [2, 4, 5]
    assert [line["step"] for line in runs.metrics(tmp_path / "run") if "lr" in line] == [1, 2, 3, 4, 5]
    assert "does not read logging" not in caplog.text


def test_what_is_not_for_a_store_is_refused(store: Path, tmp_path: Path) -> None:
    rows = [{"input_ids": [1, 2]}]
    with pytest.raises(RunError, match="trains on a TokenStore, and train_dataset is a list"):
        Trainer(model(store), TrainingArguments(str(tmp_path), max_steps=1), train_dataset=rows).train()
    one = Trainer(model(store), TrainingArguments(str(tmp_path), max_steps=1), eval_dataset=rows)
    with pytest.raises(RunError, match="is judged by a TokenStore, and eval_dataset is a list"):
        one.evaluate()
    with pytest.raises(RunError, match="predict is not for a"):
        one.predict(rows)
    args = TrainingArguments(str(tmp_path), max_steps=1, optim="sgd")
    with pytest.raises(ArgumentError, match="optim='sgd' is not for a TokenStore; accepted are adamw_torch"):
        Trainer(model(store), args, train_dataset=TokenStore(store)).train()


def test_what_it_does_not_read_is_said(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments(str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=8)
    one = Trainer(model(store), args, train_dataset=TokenStore(store), compute_metrics=lambda said: {})
    with pytest.raises(
        RunError, match=r"goes on in its own folder by itself; leave out resume_from_checkpoint='there'$"
    ):
        one.train(resume_from_checkpoint="there")
    assert not (tmp_path / "run").exists()
    one.train()
    assert "A run on a TokenStore does not read compute_metrics." in caplog.text


def test_intervals_are_shares_too_and_other_strategies_are_said(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {"per_device_train_batch_size": 4, "eval_strategy": "steps", "save_strategy": "no"}
    args = TrainingArguments(str(tmp_path / "run"), max_steps=5, eval_steps=0.5, save_steps=0.2, **given)
    recipe = recipe_of(args, model(store), TokenStore(store))
    assert (recipe.evaluate.every, recipe.save.every) == (3, 1)
    assert "A run on a TokenStore does not read save_strategy." in caplog.text
    args = TrainingArguments(str(tmp_path / "run"), num_train_epochs=1, eval_steps=0.5)
    with pytest.raises(ArgumentError, match=r"eval_steps=0\.5 is a share of the steps, and needs max_steps"):
        recipe_of(args, model(store), TokenStore(store))
