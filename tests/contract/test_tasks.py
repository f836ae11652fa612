"""What holds of every task: each file of bertwright/tasks is found by itself and put through this."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from each_task import KINDS, OWN, SIZE, TASKS, group_for, items_for, labelled, task_called
from samples import feed, model, tokenizer, weights

from bertwright.data.pack import pack
from bertwright.encoders.base import Encoder
from bertwright.encoders.exchange import Checkpoint
from bertwright.errors import BertwrightError, RecipeError
from bertwright.flow import Batch, Document, Row
from bertwright.named import find
from bertwright.run import writing
from bertwright.run.answering import task_of_checkpoint
from bertwright.run.choose import settings_of, task_of
from bertwright.run.provenance import Provenance
from bertwright.run.spec import Recipe
from bertwright.seeds import Draws
from bertwright.sums import add
from bertwright.tasks.base import Companion, LabelledTask, Task
from bertwright.tasks.joint import Joint
from bertwright.tasks.model import Model
from bertwright.train.loop import Loop
from bertwright.train.optim import adamw

every_task = pytest.mark.parametrize("name", TASKS)


def total(whole: Model, batch: Batch) -> float:
    """The mean of each loss, added."""
    with torch.no_grad():
        losses = whole(batch).totals
    return sum(float(value) / max(1, batch.counts[name]) for name, value in losses.items())


@every_task
def test_settings_say_everything(name: str) -> None:
    for part in getattr(task_called(name), "parts", (task_called(name),)):
        kind = find("bertwright.tasks", part.name, Task)
        assert type(part) is kind
        assert kind(**part.settings) == part
    again = task_of(name, _by_part(task_called(name)))
    assert again == task_called(name)
    assert again.name == name


def test_the_page_on_tasks_lists_every_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (text|rows) \|", page, re.MULTILINE)
    assert sorted(listed) == [(name, "text" if kind.reads is Document else "rows") for name, kind in KINDS.items()]


def _by_part(task: Task) -> dict[str, dict[str, Any]]:
    return task.settings if "+" in task.name else {task.name: task.settings}


def otherwise(task: Task) -> Task:
    """The same task, set otherwise: shares and weights halved, labels read from another column."""
    if isinstance(task, Joint):
        return Joint(parts=tuple(map(otherwise, task.parts)), weights=tuple(weight / 2 for weight in task.weights))
    return type(task)(**task.settings | _otherwise(task.settings))


def _otherwise(settings: Mapping[str, Any]) -> dict[str, Any]:
    halved = {name: value / 2 for name, value in settings.items() if isinstance(value, float)}
    return halved | {name: f"my_{settings[name]}" for name in settings.keys() & {"label_field"}}


@every_task
def test_a_recipe_and_a_checkpoint_keep_the_settings(name: str, tmp_path: Path) -> None:
    task = otherwise(task_called(name))
    assert (task != task_called(name)) == bool(task.settings)
    recipe = Recipe(out="", task=name, tasks=settings_of(name, task))
    (tmp_path / "recipe.toml").write_text(recipe.write(), encoding="utf-8")
    assert task_of(name, Recipe.read(tmp_path / "recipe.toml").tasks) == task
    _write(tmp_path / "model", model(task, SIZE))
    assert task_of_checkpoint(Checkpoint.open(tmp_path / "model")) == task


def _write(folder: Path, whole: Model) -> None:
    task = whole.task
    record = Provenance(task=task.name, reads="", settings=task.settings, seed=1, start="scratch", tensors=[], data={})
    folder.mkdir(exist_ok=True)
    writing.write(folder, whole, tokenizer(), record)


@every_task
def test_it_reads_documents_or_rows(name: str) -> None:
    task = task_called(name)
    assert task.reads in (Document, Row)
    assert isinstance(task, LabelledTask) == (task.reads is Row)
    with pytest.raises(BertwrightError, match="unknown setting"):
        task_of(name, {name.split("+")[0]: {"no_such_setting": 1}})


@every_task
def test_examples_fit_and_come_from_the_item_alone(name: str) -> None:
    group = group_for(name)
    assert len(group) > 10
    for example in group:
        assert len(example.segments) == len(example.ids)
        assert sum(example.lengths) in (0, len(example))
        for sequence in np.split(example.ids, np.cumsum(example.lengths or len(example))[:-1]):
            assert 2 < len(sequence) <= 24
            assert sequence[0] == OWN.cls
            assert sequence[-1] == OWN.sep
        assert example.ids.min() >= 0
        assert example.ids.max() < SIZE
    assert len({example.key for example in group}) == len(group)
    assert [e.ids.tolist() for e in group_for(name)] == [e.ids.tolist() for e in group]


@every_task
def test_each_prediction_has_its_place_its_answer_and_its_count(name: str) -> None:
    batch = labelled(name, group_for(name))
    assert batch.labels
    assert {key.partition(".")[0] for key in batch.labels} == set(name.split("+"))
    for labels in batch.labels.values():
        assert len(labels.positions) == len(labels.values)
        assert 0 <= int(labels.positions.min()) <= int(labels.positions.max()) < batch.tokens
    assert batch.counts == {key: len(labels.positions) for key, labels in batch.labels.items()}
    assert all(batch.counts.values())
    loss = model(task_called(name), SIZE)(batch)
    assert set(loss.totals) == set(batch.counts)


@every_task
def test_labels_do_not_depend_on_the_company(name: str) -> None:
    group = group_for(name)[:6]
    together = labelled(name, group[::-1])
    alone = [labelled(name, [example]) for example in group[::-1]]
    assert torch.equal(together.ids, torch.cat([one.ids for one in alone]))
    firsts = [int(together.firsts[example.start]) for example in together.examples]
    for key, labels in together.labels.items():
        shifted = [one.labels[key].positions + first for one, first in zip(alone, firsts, strict=True)]
        assert torch.equal(labels.positions, torch.cat(shifted))
        assert torch.equal(labels.values, torch.cat([one.labels[key].values for one in alone]))


@every_task
def test_labels_leave_the_examples_alone(name: str) -> None:
    group = group_for(name)
    before = [example.ids.copy() for example in group]
    packed = pack(group, OWN)
    ids = packed.ids.clone()
    task_called(name).label(packed, group, Draws(1))
    assert torch.equal(packed.ids, ids)
    assert all(np.array_equal(example.ids, old) for example, old in zip(group, before, strict=True))


@every_task
@torch.no_grad()
def test_losses_and_measures_add_over_a_divided_batch(name: str) -> None:
    group = group_for(name)
    whole = model(task_called(name), SIZE).eval()
    together = whole(labelled(name, group))
    assert all(torch.isfinite(value) and value > 0 for value in together.totals.values())
    for cuts in ([5], [1, 2, 9], list(range(1, len(group)))):
        edges = [0, *cuts, len(group)]
        parts = [whole(labelled(name, group[a:b])) for a, b in pairwise(edges)]
        for kind in ("totals", "measures"):
            added = add(getattr(part, kind) for part in parts)
            expected = add([getattr(together, kind)])
            assert added.keys() == expected.keys()
            for key in added:
                torch.testing.assert_close(added[key], expected[key], rtol=1e-5, atol=1e-4, msg=f"{cuts} {key}")


@every_task
@torch.no_grad()
def test_packed_equals_alone(name: str) -> None:
    task, group = task_called(name), group_for(name)[:8]
    whole = model(task, SIZE).eval()
    together = task.logits(whole.encoder, whole.head, labelled(name, group))
    alone = [task.logits(whole.encoder, whole.head, labelled(name, [example])) for example in group]
    for key, logits in together.items():
        torch.testing.assert_close(logits, torch.cat([one[key] for one in alone]), rtol=1e-4, atol=1e-5)


@every_task
@torch.no_grad()
def test_it_answers_without_labels(name: str) -> None:
    """`asks` asks at least what `label` does, on ids as they are."""
    task, group = task_called(name), group_for(name)
    whole, packed = model(task, SIZE).eval(), pack(group, OWN)
    asked = task.asks(packed)
    assert torch.equal(asked.ids, packed.ids)
    said = task.logits(whole.encoder, whole.head, asked)
    for key, labels in labelled(name, group).labels.items():
        assert set(labels.positions.tolist()) <= set(asked.labels[key].positions.tolist())
        assert len(said[key]) == asked.counts[key]
    if isinstance(task, LabelledTask):
        assert task.answer_field in task.settings.values()
        assert len(task.answers(whole.encoder, whole.head, packed)) == len(packed.examples)


@every_task
def test_reports_are_numbers_and_better_is_more(name: str) -> None:
    task = task_called(name)
    whole, batch = model(task, SIZE), labelled(name, group_for(name))
    loss = whole(batch)
    assert not any(value.requires_grad for value in loss.measures.values())
    report = task.report(add([loss.measures]))
    assert report
    assert all(isinstance(value, float) and np.isfinite(value) for value in report.values())
    assert all(key.split(".")[0] in name.split("+") for key in report)
    _overfit(whole, batch)
    with torch.no_grad():
        better = task.report(add([whole(batch).measures]))
    assert task.score(better) > task.score(report)


def _overfit(whole: Model, batch: Batch, steps: int = 50) -> None:
    optimizer = adamw(whole, lr=3e-3, weight_decay=0.0)
    loop = Loop(whole, lambda step: [batch], optimizer, lambda step: 1.0, clip=1.0, precision="fp32", seed=1)
    list(loop.steps(steps))


@every_task
def test_the_loss_falls(name: str) -> None:
    """Fifty steps on one batch: each loss to less than three quarters."""
    whole, batch = model(task_called(name), SIZE), labelled(name, group_for(name)[:16])
    with torch.no_grad():
        before = whole(batch).totals
    _overfit(whole, batch)
    with torch.no_grad():
        after = whole(batch).totals
    for key in before:
        assert float(after[key]) < 0.75 * float(before[key]), key


@every_task
def test_every_tensor_of_the_model_learns(name: str) -> None:
    whole = model(task_called(name), SIZE)
    before = weights(whole)
    _overfit(whole, labelled(name, group_for(name)), steps=2)
    still = [key for key, value in whole.named_parameters() if torch.equal(value, before[key])]
    # A softmax does not see what it adds to all that it compares: such a bias is moved by rounding, if at all.
    unseen = ("key.bias", "head.output.bias") if name == "choice" else ("key.bias",)
    assert [key for key in still if not key.endswith(unseen)] == []


@every_task
def test_head_tensors_have_transformers_names(name: str) -> None:
    whole = model(task_called(name), SIZE)
    known = whole.hf_names()
    assert set(known) == {own for own, _ in whole.named_parameters()}
    assert len(set(known.values())) == len(known)
    heads = {known[own]: p.shape for own, p in whole.named_parameters() if own.startswith("head.")}
    config = type(whole.encoder.config).from_dict(whole.encoder.config.to_dict() | whole.task.config_changes())
    models = {f"{folder}/": one for folder, one in whole.task.companions(whole.encoder).items()}
    if whole.task.hf_class:
        models[""] = Companion(config, writing.architecture(whole), "")
    for prefix, (config, architecture, _) in models.items():
        theirs = getattr(transformers, architecture)(config)
        shapes = {f"{prefix}{key}": value.shape for key, value in theirs.named_parameters()}
        own = {key: shape for key, shape in heads.items() if key[: key.find("/") + 1] == prefix}
        assert own
        assert {key: shapes.get(key) for key in own} == own


def arch_of(encoder: Encoder) -> str:
    return type(encoder).__module__.rpartition(".")[2]


@every_task
@torch.no_grad()
def test_the_encoder_goes_on_to_every_other_task(name: str, tmp_path: Path) -> None:
    """Written after training, read by transformers to the same logits, and the start of any task."""
    task = task_called(name)
    whole = model(task, SIZE)
    with torch.enable_grad():
        _overfit(whole, labelled(name, group_for(name)), steps=2)
    _write(tmp_path, whole)
    writing.check(tmp_path, whole, tokenizer())
    for other in TASKS:
        encoder = Encoder.from_pretrained(tmp_path)
        for own, value in whole.encoder.named_parameters():
            assert torch.equal(encoder.get_parameter(own), value), own
        fresh = model(task_called(other), SIZE)
        if fresh.task.arch not in ("", arch_of(encoder)):
            with pytest.raises(RecipeError, match=f"{fresh.task.arch}"):
                Model(encoder, fresh.task)
            continue
        started = Model(encoder, fresh.task)
        started.head.load_state_dict(fresh.head.state_dict())
        loss = total(started, labelled(other, group_for(other)))
        assert np.isfinite(loss)
        assert loss != total(fresh, labelled(other, group_for(other)))


@every_task
def test_it_runs_through_plan_and_feed(name: str) -> None:
    task = task_called(name)
    batches = feed(task, items_for(task), 8, 64)(5)
    assert sum(len(batch.examples) for batch in batches) == 8
    whole = model(task, SIZE)
    loss = sum(total(whole, batch) for batch in batches)
    assert np.isfinite(loss)
    assert loss > 0
