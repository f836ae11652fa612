"""Callbacks hear what they hear from transformers' Trainer, and what they ask for happens."""

from __future__ import annotations

import dataclasses
import importlib.util
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import Examples, arguments, losses, model, trainer, weights
from transformers import Adafactor, BertForSequenceClassification, EarlyStoppingCallback, TrainerCallback
from transformers.optimization import AdafactorSchedule
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalPrediction

from bertwright.errors import RunError
from bertwright.hf import reporting
from bertwright.hf.trainer import Trainer

THEIRS = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]
LOGGED = ("loss", "grad_norm", "learning_rate", "epoch", "eval_loss", "train_loss")


class Recorder(TrainerCallback):
    """Remembers every event with the step, the epoch and the flags at that moment."""

    def __init__(self) -> None:
        self.heard: list[Any] = []


def _recording(event: str) -> Any:
    def on(self: Recorder, args: Any, state: Any, control: Any, **more: Any) -> None:
        assert more["model"] is not None
        flags = (control.should_log, control.should_evaluate, control.should_save, control.should_training_stop)
        self.heard.append((event, state.global_step, round(state.epoch or 0, 6), flags))

    return on


for _event in EVENTS:
    setattr(Recorder, _event, _recording(_event))


class Numbers(TrainerCallback):
    """What is logged, without what depends on the clock."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        self.logs.append({name: logs[name] for name in LOGGED if name in logs})


def theirs(home: Path, whole: Any, data: Any, callbacks: list[Any], **more: Any) -> transformers.Trainer:
    args = arguments(home, **more).to_dict()
    for name in ("accelerator_config", "gradient_checkpointing", "gradient_checkpointing_kwargs"):
        args.pop(name)
    plain = transformers.TrainingArguments(**{k: v for k, v in args.items() if k in THEIRS})
    return transformers.Trainer(whole, plain, train_dataset=data, eval_dataset=data, callbacks=callbacks)


SETTINGS: list[dict[str, Any]] = [
    {"num_train_epochs": 2, "eval_strategy": "epoch", "save_strategy": "epoch", "logging_strategy": "epoch"},
    {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2},
    {"num_train_epochs": 1, "gradient_accumulation_steps": 3, "logging_first_step": True, "logging_steps": 2},
    {"num_train_epochs": 1.5, "eval_on_start": True, "eval_strategy": "steps", "eval_steps": 0.4},
]


@pytest.mark.parametrize("more", SETTINGS)
def test_events_come_in_transformers_order(more: dict[str, Any], tmp_path: Path) -> None:
    mine, other, data = Recorder(), Recorder(), Examples(BertForSequenceClassification)
    whole = model(BertForSequenceClassification)
    trainer(tmp_path / "a", whole, data, eval_dataset=data, callbacks=[mine], **more).train()
    theirs(tmp_path / "b", model(BertForSequenceClassification), data, [other], **more).train()
    assert mine.heard == other.heard
    assert len({event for event, *_ in mine.heard}) > 8


@pytest.mark.parametrize("schedule", ["linear", "cosine", "reduce_lr_on_plateau"])
def test_an_epoch_is_transformers_epoch(schedule: str, tmp_path: Path) -> None:
    """In the same order and without dropout or accumulation, where theirs depends on no split."""
    more: dict[str, Any] = {
        "num_train_epochs": 2,
        "train_sampling_strategy": "sequential",
        "lr_scheduler_type": schedule,
    }
    more |= {"weight_decay": 0.1, "eval_strategy": "epoch", "learning_rate": 3e-3, "warmup_steps": 2}
    mine, other, data = Numbers(), Numbers(), Examples(BertForSequenceClassification)
    ours, their = model(BertForSequenceClassification), model(BertForSequenceClassification)
    trainer(tmp_path / "a", ours, data, eval_dataset=data, callbacks=[mine], **more).train()
    theirs(tmp_path / "b", their, data, [other], **more).train()
    assert [logs.keys() for logs in mine.logs] == [logs.keys() for logs in other.logs]
    for one, two in zip(mine.logs, other.logs, strict=True):
        assert one == pytest.approx(two, rel=1e-5, abs=1e-5)
    for name, tensor in weights(their).items():
        torch.testing.assert_close(weights(ours)[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    assert isinstance(prediction.predictions, np.ndarray)
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def judged(home: Path, **more: Any) -> Any:
    data = Examples(BertForSequenceClassification)
    settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    settings |= {"load_best_model_at_end": True, "learning_rate": 0.3, "max_steps": 6, "compute_metrics": accuracy}
    return trainer(home, model(BertForSequenceClassification), data, eval_dataset=data, **settings | more)


def test_the_best_model_is_loaded_at_the_end(tmp_path: Path) -> None:
    one = judged(tmp_path, save_total_limit=1)
    one.train()
    found = [line["eval_loss"] for line in one.state.log_history if "eval_loss" in line]
    assert found[-1] > min(found) == pytest.approx(one.state.best_metric)
    assert one.evaluate()["eval_loss"] == pytest.approx(min(found), abs=1e-6)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{found.index(min(found)) + 1}"]


def test_early_stopping_stops(tmp_path: Path) -> None:
    one = judged(tmp_path, max_steps=50, callbacks=[EarlyStoppingCallback(2)], metric_for_best_model="accuracy")
    one.train()
    found = [line["eval_accuracy"] for line in one.state.log_history if "eval_accuracy" in line]
    assert one.state.global_step == len(found) < 50
    assert max(found[-2:]) <= max(found[:-2]) == one.state.best_metric


def test_predictions_are_transformers_predictions(tmp_path: Path) -> None:
    data = Examples(BertForSequenceClassification, 10)
    whole = model(BertForSequenceClassification)
    seen: list[Any] = []

    def classes(logits: Any, labels: Any) -> Any:
        seen.append(labels)
        return logits.argmax(-1)

    one = trainer(tmp_path, whole, data, compute_metrics=accuracy)
    other = theirs(tmp_path, whole, data, [])
    mine, their = one.predict(data), other.predict(data)
    np.testing.assert_allclose(mine.predictions, their.predictions, rtol=1e-6)
    np.testing.assert_array_equal(mine.label_ids, their.label_ids)
    assert {"test_accuracy", "test_loss", "test_runtime"} <= mine.metrics.keys()
    one.preprocess_logits_for_metrics = classes
    assert one.predict(data).predictions.tolist() == their.predictions.argmax(-1).tolist()
    assert len(seen) == 2


def test_metrics_batch_by_batch_leave_the_predictions(tmp_path: Path) -> None:
    data, seen = Examples(BertForSequenceClassification, 10), []

    def right(found: Any, compute_result: bool) -> dict[str, float]:
        seen.extend((found.predictions.argmax(-1) == found.label_ids).tolist())
        return {"accuracy": sum(seen) / len(seen)} if compute_result else {}

    settings = {"batch_eval_metrics": True, "per_device_eval_batch_size": 4}
    one = trainer(tmp_path, model(BertForSequenceClassification), data, compute_metrics=right, **settings)
    found = one.predict(data)
    said = found.predictions.argmax(-1) == found.label_ids
    assert found.metrics["test_accuracy"] == said.mean()
    assert seen == said.tolist()


class Counting(TrainerCallback, ExportableState):
    """A callback with a state, of which a person may have several."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def state(self) -> dict[str, Any]:
        return {"args": {"number": self.number}, "attributes": {}}


def test_each_callback_gets_its_own_state_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = {"save_strategy": "steps", "save_steps": 1, "restore_callback_states_from_checkpoint": True}
    trainer(tmp_path, max_steps=1, callbacks=[Counting(3), Counting(5)], **saved).train()
    again = [Counting(), Counting()]
    trainer(tmp_path, max_steps=2, callbacks=again, **saved).train(resume_from_checkpoint=True)
    assert [one.number for one in again] == [3, 5]
    assert "has the state of" not in caplog.text
    trainer(tmp_path, max_steps=3, **saved).train(resume_from_checkpoint=True)
    assert "has the state of Counting, and callbacks= has none to take it" in caplog.text


def test_what_is_asked_of_an_optimizer(tmp_path: Path) -> None:
    one = trainer(tmp_path, weight_decay=0.1, adam_beta2=0.9)
    with pytest.raises(RunError, match="there is no optimizer yet"):
        one.get_learning_rates()
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(one.args)
    made = one.create_optimizer()
    assert type(made) is kind
    assert all(made.defaults[name] == value for name, value in settings.items())
    assert settings["betas"] == (0.9, 0.9)
    assert one.get_learning_rates() == [1e-2, 1e-2]
    bias = one.model.get_parameter("cls.predictions.bias")
    assert one.get_optimizer_group(bias)["weight_decay"] == 0
    assert [group["weight_decay"] for group in one.get_optimizer_group()] == [0.1, 0]
    assert one.get_num_trainable_parameters() == sum(p.numel() for p in one.model.parameters())


def test_epochs_that_are_left_early_are_as_many_as_asked_for(tmp_path: Path) -> None:
    class Leaving(TrainerCallback):
        ended = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_epoch_stop = state.global_step % 2 == 0

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.ended += 1

    leaving = Leaving()
    one = trainer(tmp_path, num_train_epochs=3, per_device_train_batch_size=4, callbacks=[leaving])
    assert (one.train().global_step, leaving.ended) == (6, 3)


@pytest.mark.parametrize(
    ("strategy", "places"),
    [("every_save", [None]), ("checkpoint", [None, "last-checkpoint"]), ("all_checkpoints", [None, "checkpoint-2"])],
)
def test_what_is_sent_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, places: list[str | None]
) -> None:
    """The model into the root, and the whole checkpoint beside it where that is asked for."""
    sent: list[tuple[str, str | None, list[str]]] = []

    class Hub:
        def __init__(self, **asked: Any) -> None: ...

        def create_repo(self, name: str, **asked: Any) -> Any:
            return types.SimpleNamespace(repo_id=name)

        def upload_folder(self, folder_path: Path, path_in_repo: str | None = None, **asked: Any) -> None:
            sent.append((folder_path.name, path_in_repo, asked["ignore_patterns"]))

    monkeypatch.setattr(reporting, "HfApi", Hub)
    hub = {"push_to_hub": True, "hub_strategy": strategy, "hub_model_id": "me/mine"}
    trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=2, **hub).train()
    assert [(folder, place) for folder, place, _ in sent] == [("checkpoint-2", place) for place in places]
    assert {"optimizer.safetensors", "trainer_state.json"} <= {*sent[0][2]}
    assert not {"optimizer.safetensors", "trainer_state.json"} & {name for _, _, names in sent[1:] for name in names}


def test_an_optimizer_of_a_class_decays_what_the_arguments_say(tmp_path: Path) -> None:
    of_class = (torch.optim.AdamW, {"lr": 1e-3})
    made = trainer(tmp_path, weight_decay=0.3, optimizer_cls_and_kwargs=of_class).create_optimizer()
    named, plain = made.param_groups
    assert (named["weight_decay"], plain["weight_decay"], named["lr"]) == (0.3, 0.0, 1e-3)
    assert all(name.endswith("bias") or "LayerNorm" in name for name in plain["param_names"])
    assert not any(name.endswith("bias") or "LayerNorm" in name for name in named["param_names"])


def test_several_labels_are_not_smoothed(tmp_path: Path) -> None:
    rows = [row | {"labels": torch.tensor([1.0, 0.0])} for row in Examples().rows]
    several = {"problem_type": "multi_label_classification"}
    with pytest.warns(UserWarning, match="Label smoothing is not compatible with multi-label classification"):
        one = trainer(tmp_path, model(BertForSequenceClassification, **several), rows, label_smoothing_factor=0.1)
    plain = trainer(tmp_path / "plain", model(BertForSequenceClassification, **several), rows)
    for each in (one, plain):
        each.train()
    assert losses(one) == losses(plain)


def test_a_loader_says_its_batch_size(tmp_path: Path) -> None:
    one = trainer(tmp_path, per_device_eval_batch_size=3, eval_dataset=Examples())
    assert one.get_train_dataloader().batch_size == 4
    assert one.get_eval_dataloader().batch_size == 3


def test_an_optimizer_and_a_schedule_of_ones_own(tmp_path: Path) -> None:
    whole = model()
    own = torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(own, 2, 0.5)
    more = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    one = trainer(tmp_path, whole, optimizers=(own, schedule), **more)
    one.train()
    assert [line["learning_rate"] for line in one.state.log_history if "learning_rate" in line] == pytest.approx(
        [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    )
    again = model()
    own = torch.optim.SGD(again.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(own, 2, 0.5)
    two = trainer(tmp_path, again, optimizers=(own, schedule), **more)
    two.train(str(tmp_path / "checkpoint-3"))
    assert losses(two) == losses(one)
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_a_schedule_that_reads_the_rate_off_gradients(tmp_path: Path) -> None:
    """Adafactor's rate without one of its own is made of the step and the weights' size."""
    whole = model()
    own = Adafactor(whole.parameters(), scale_parameter=True, relative_step=True, warmup_init=True, lr=None)
    one = trainer(tmp_path, whole, optimizers=(own, AdafactorSchedule(own)), max_steps=3)
    one.train()
    rates = [line["learning_rate"] for line in one.state.log_history if "learning_rate" in line]
    assert min(rates[1:]) > 0
    assert own.param_groups[0]["lr"] > 0


def test_a_model_is_made_anew_for_each_run(tmp_path: Path) -> None:
    one = trainer(tmp_path, model_init=model, max_steps=2)
    one.train()
    first = losses(one)
    one.train()
    assert losses(one) == first


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_arguments_are_searched_for(tmp_path: Path) -> None:
    one = trainer(tmp_path, model_init=model, eval_dataset=Examples(), max_steps=3, eval_strategy="steps", eval_steps=3)
    best = one.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", [1e-6, 1e-2])}, n_trials=3
    )
    assert best.hyperparameters.keys() == {"learning_rate"}
    assert one.args.learning_rate == 1e-2


def test_metrics_and_state_are_kept_in_files(tmp_path: Path) -> None:
    one = trainer(tmp_path, max_steps=2)
    output = one.train()
    one.log_metrics("train", output.metrics)
    one.save_metrics("train", output.metrics)
    one.save_state()
    one.save_model()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"all_results.json", "train_results.json", "trainer_state.json", "model.safetensors", "config.json"} <= names
