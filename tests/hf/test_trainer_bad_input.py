"""What a person can mend is said in one line that names both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tiny import Examples, arguments, config, hide, losses, model, trainer
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import BertForMaskedLM, BertForSequenceClassification

from bertwright.errors import BertwrightError, CheckpointError, InputError, RunError
from bertwright.hf.trainer import Trainer


def refused(kind: type[BertwrightError], one: Trainer) -> str:
    with pytest.raises(kind) as caught:
        one.train()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_to_judge_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^eval_strategy='epoch' judges an eval_dataset, and none was passed$"):
        trainer(tmp_path, eval_strategy="epoch")


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(Examples().rows)


class Scorer(nn.Module):
    """A module of somebody's own, with or without a loss."""

    def __init__(self, loss: bool) -> None:
        super().__init__()
        self.words, self._loss = nn.Embedding(40, 2), loss

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        scores = self.words(input_ids).mean(1)
        return {"loss": nn.functional.cross_entropy(scores, labels)} if self._loss else {"scores": scores}


def test_a_model_without_a_loss(tmp_path: Path) -> None:
    data = Examples(BertForSequenceClassification)
    said = refused(RunError, trainer(tmp_path, Scorer(False), data))
    assert said.startswith("Scorer returned no loss but scores for a batch of input_ids, labels; it learns from labels")
    rows: Any = [{"input_ids": row["input_ids"]} for row in data.rows]
    said = refused(RunError, trainer(tmp_path, model(), rows))
    assert said.startswith(
        "BertForMaskedLM returned no loss but logits for a batch of input_ids; it learns from labels"
    )


def test_a_module_of_ones_own_learns(tmp_path: Path) -> None:
    whole = Scorer(True)
    one = trainer(tmp_path, whole, Examples(BertForSequenceClassification), num_train_epochs=9, learning_rate=0.1)
    one.train()
    assert losses(one)[-1] < losses(one)[0]
    one.save_model(str(tmp_path / "own"))
    assert (tmp_path / "own" / "model.safetensors").is_file()


def test_a_stream_needs_max_steps(tmp_path: Path) -> None:
    said = refused(RunError, trainer(tmp_path, data=Stream()))
    assert said == "the training data, a Stream, has no length, so its epochs cannot be counted: pass max_steps"
    one = trainer(tmp_path, data=Stream(), max_steps=6)
    one.train()
    assert one.state.global_step == 6
    assert one.state.epoch == 1.0


def test_a_stream_that_does_not_begin_again_ends_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Once(IterableDataset[Any]):
        def __init__(self) -> None:
            self.rows = iter(Examples().rows)

        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            return self.rows

    one = trainer(tmp_path, data=Once(), max_steps=9, save_strategy="epoch")
    assert one.train().global_step == 4
    assert "does not begin again: training stops after step 4 of 9" in caplog.text
    assert one.state.log_history[-1]["train_loss"] > 0
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]


def test_columns_that_the_model_does_not_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{name: value.tolist() for name, value in row.items()} | {"text": "Лодка"} for row in Examples().rows]
    whole = datasets.Dataset.from_list(rows)
    one = trainer(tmp_path, data=whole)
    one.train()
    one.evaluate(whole)
    assert caplog.text.count("BertForMaskedLM does not take are left out: text.") == 1
    assert losses(one) == losses_of(tmp_path, rows)
    said = refused(InputError, trainer(tmp_path / "text", data=whole.select_columns(["text"])))
    assert said.startswith("the dataset has the columns text, and BertForMaskedLM takes none of them but input_ids,")
    texts: Any = [{"text": "船"}] * 4
    assert refused(InputError, trainer(tmp_path / "texts", data=texts)).startswith("the dataset has the columns text")


def losses_of(home: Path, rows: Any) -> list[float]:
    one = trainer(home, data=rows)
    one.train()
    return losses(one)


def test_a_collator_that_gives_what_the_model_does_not_take(tmp_path: Path) -> None:
    one = trainer(tmp_path, data_collator=lambda examples: hide(examples) | {"weights": torch.ones(4)})
    assert refused(InputError, one).startswith("a batch has weights, which BertForMaskedLM does not take; it takes")
    one = trainer(tmp_path, data_collator=lambda examples: torch.ones(4))
    assert refused(InputError, one).startswith(
        "a batch is a mapping of the model's inputs, and the collator made a Tensor"
    )


def test_a_model_of_ones_own_may_take_any_input(tmp_path: Path) -> None:
    """Of columns that its forward does not list, those reach it that label_names names."""
    seen: list[set[str]] = []

    class Weighed(BertForSequenceClassification):
        def forward(self, input_ids: Any = None, labels: Any = None, **more: Any) -> Any:  # type: ignore[override]
            seen.append(set(more))
            return super().forward(input_ids=input_ids, labels=labels)

    rows = [row | {"weight": torch.tensor(1.0), "unused": 0} for row in Examples(BertForSequenceClassification).rows]
    one = trainer(tmp_path, model(Weighed), rows, label_names=["labels", "weight"], max_steps=1)
    one.train()
    assert seen == [{"weight"}]
    assert len(one.predict(rows).label_ids) == 2


@pytest.mark.parametrize(("label", "found"), [(2, "the label 2"), (-1, "the label -1")])
def test_labels_out_of_range(label: int, found: str, tmp_path: Path) -> None:
    rows: Any = [{"input_ids": torch.arange(5), "labels": torch.tensor(label)}] * 4
    said = refused(InputError, trainer(tmp_path, model(BertForSequenceClassification), rows))
    assert f"{found}, and BertForSequenceClassification has classes 0 to 1 (its config's num_labels is 2)" in said
    rows = [{"input_ids": torch.arange(5), "labels": torch.full((5,), 40)}] * 4
    said = refused(InputError, trainer(tmp_path, model(), rows))
    assert "BertForMaskedLM has classes 0 to 39 (its config's vocab_size is 40)" in said


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pass train_dataset"):
        Trainer(model(), arguments(tmp_path)).train()
    with pytest.raises(RunError, match="pass model="):
        Trainer(args=arguments(tmp_path))
    with pytest.raises(TypeError, match="Trainer takes no metric"):
        Trainer(model(), arguments(tmp_path), metric=3)
    with pytest.raises(RunError, match="pass eval_dataset"):
        Trainer(model(), arguments(tmp_path)).evaluate()
    assert "there is no step to train" in refused(RunError, trainer(tmp_path, data=[]))


def test_a_metric_that_is_not_there(tmp_path: Path) -> None:
    more: dict[str, Any] = {"eval_strategy": "epoch", "metric_for_best_model": "f1", "eval_dataset": Examples()}
    said = refused(RunError, trainer(tmp_path, **more))
    assert said.startswith("metric_for_best_model is 'f1', and the evaluation gave eval_loss")


def test_a_checkpoint_of_another_class(tmp_path: Path) -> None:
    trainer(tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    other = trainer(
        tmp_path, model(BertForSequenceClassification), Examples(BertForSequenceClassification), max_steps=2
    )
    with pytest.raises(CheckpointError, match="checkpoint of a BertForMaskedLM, and the model is a BertForSequenceCl"):
        other.train(resume_from_checkpoint=True)
    with pytest.raises(RunError, match=r"is not a folder with model\.safetensors"):
        trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_a_model_that_loads_by_itself(tmp_path: Path) -> None:
    class Growing(Scorer):
        """Remembers all ids that it has seen."""

        def __init__(self) -> None:
            super().__init__(loss=True)
            self.register_buffer("seen", torch.empty(0, dtype=torch.long))

        def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
            self.seen = torch.cat([self.seen, input_ids.flatten()])
            return super().forward(input_ids, labels)

        def load_state_dict(self, state: Any, *more: Any, **named: Any) -> Any:
            self.seen = state["seen"].clone()
            return super().load_state_dict(state, *more, **named)

    data, saved = Examples(BertForSequenceClassification), {"save_strategy": "steps", "save_steps": 2}
    whole, half = Growing(), Growing()
    trainer(tmp_path / "whole", whole, data, max_steps=6, **saved).train()
    one = trainer(tmp_path / "half", half, data, max_steps=6, **saved)
    one.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert torch.equal(half.seen, whole.seen)


def test_the_log_says_what_kind_of_training_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = trainer(tmp_path / "a", max_steps=1)
    one.train()
    one.save_model(str(tmp_path / "saved"))
    trainer(tmp_path / "b", BertForMaskedLM.from_pretrained(tmp_path / "saved"), max_steps=1).train()
    data = Examples(BertForSequenceClassification)
    trainer(tmp_path / "c", BertForSequenceClassification(config()), data, max_steps=1).train()
    said = [r.getMessage() for r in caplog.records if "This is" in r.getMessage()]
    assert [line.partition("This is ")[2] for line in said] == [
        "pretraining from scratch.",
        "continued pretraining.",
        "training a task from random weights, without pretraining.",
    ]
    assert said[0].startswith("BertForMaskedLM: 3,528 weights train, drawn at random.")
    assert f"loaded from {tmp_path / 'saved'}." in said[1]
