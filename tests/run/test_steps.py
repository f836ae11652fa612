"""Runs that go on to another number of steps than they were begun with, and runs with everything that changes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from safetensors.torch import load_file

from bertwright.data.store import TokenStore
from bertwright.errors import RunError
from bertwright.flow import Batch
from bertwright.run.answering import Answerer
from bertwright.run.choose import task_of
from bertwright.run.run import Stopped
from bertwright.run.sources import open_source
from bertwright.run.spec import Recipe
from bertwright.run.start import begin
from bertwright.run.training import loop_of

Refused = Callable[..., str]
EVERYTHING = {
    "train__steps": 12,
    "train__horizon": 18,
    "train__optimizer": "muon",
    "train__schedule": "trapezoid",
    "train__average": 0.9,
    "train__batch_size": 8,
    "train__start_batch_size": 4,
    "train__dropout": 0.1,
    "train__micro_tokens": 128,
    "data__start_length": 16,
    "tasks__mlm__rate": 0.3,
    "tasks__mlm__final_rate": 0.15,
    "tasks__mlm__z_loss": 1e-3,
    "evaluate__every": 4,
    "save__every": 3,
}
"""Muon, an average, a z-loss, and every schedule there is."""


def begun(tables: Mapping[str, Any], steps: int, stop_at: int) -> None:
    """The run asked for with so many steps, stopped with a checkpoint."""
    with pytest.raises(Stopped):
        runs.done(lasting(tables, steps), *runs.stopping_at(stop_at))


def lasting(tables: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The same with another number of steps, and the horizon left to follow from the first."""
    train = {key: value for key, value in tables["train"].items() if key != "horizon"}
    return {**tables, "train": {**train, "steps": steps}}


@pytest.fixture(scope="module")
def unbroken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("unbroken") / "run", **EVERYTHING))


@pytest.fixture
def tables(store: Path, tmp_path: Path) -> dict[str, Any]:
    return runs.pretraining(store, tmp_path / "run", **EVERYTHING)


@pytest.mark.parametrize("steps", [(5,), (2, 7, 10), (12,)])
def test_with_everything_on_it_resumes_bit_for_bit(
    tables: dict[str, Any], unbroken: Path, steps: tuple[int, ...]
) -> None:
    for step in steps:
        with pytest.raises(runs.Killed):
            runs.done(tables, runs.killed_at(step))
    home = runs.done(tables)
    assert runs.same_weights(home, unbroken)
    assert runs.metrics(home) == runs.metrics(unbroken)


@pytest.mark.parametrize("until", [3, 8])
def test_a_run_that_is_shortened_is_the_shorter_run(tables: dict[str, Any], unbroken: Path, until: int) -> None:
    """Begun as one of 18 steps, and finished after 12: as if 12 had been asked for, with shares of 18."""
    begun(tables, 18, until)
    watcher = runs.Watcher()
    home = runs.done(lasting(tables, 12), watcher)
    assert f"{home} goes on to 12 steps instead of 18." in watcher.said
    assert runs.same_weights(home, unbroken)
    assert runs.metrics(home) == runs.metrics(unbroken)
    assert Recipe.read(home / "recipe.toml").train == Recipe.read(unbroken / "recipe.toml").train


def test_a_run_that_is_lengthened_is_the_longer_run(tables: dict[str, Any], store: Path, tmp_path: Path) -> None:
    begun(tables, 12, 9)
    longer = runs.done(lasting(tables, 20))
    other = runs.pretraining(store, tmp_path / "other", **EVERYTHING | {"train__steps": 20, "train__horizon": 12})
    assert runs.same_weights(longer, runs.done(other))


def test_a_finished_run_at_a_constant_rate_goes_on(store: Path, tmp_path: Path) -> None:
    def tables(name: str, steps: int) -> dict[str, Any]:
        level = {"train__schedule": "constant", "train__warmup": 0.0, "train__steps": steps}
        return runs.pretraining(store, tmp_path / name, **level)

    runs.done(tables("run", 3))
    longer = runs.done(tables("run", 5))
    assert runs.same_weights(longer, runs.done(tables("other", 5)))
    assert sorted(path.name for path in longer.iterdir()) == sorted(p.name for p in (tmp_path / "other").iterdir())
    watcher = runs.Watcher()
    runs.done(tables("run", 5), watcher)
    assert watcher.said == [f"{longer} is finished; nothing to do."]


@pytest.mark.parametrize(
    ("changes", "begun_with", "stop_at", "wanted", "accepted"),
    [
        ({"train__schedule": "trapezoid"}, 20, 9, 9, "train.steps = 20, or any from 10 on"),
        ({"train__schedule": "trapezoid", "train__decay": 0.5}, 20, 9, 15, "train.steps = 20, or any from 16 on"),
        ({"train__schedule": "trapezoid"}, 10, 10, 30, "train.steps = 10, or another --out"),
        ({"train__schedule": "linear"}, 10, 4, 20, "train.steps = 10, or another --out"),
        ({"train__schedule": "cosine"}, 10, 4, 8, "train.steps = 10, or another --out"),
        ({"train__schedule": "constant"}, 10, 4, 3, "train.steps = 10, or any from 4 on"),
    ],
)
def test_steps_that_would_have_gone_another_way_are_refused(
    store: Path,
    tmp_path: Path,
    refused: Refused,
    changes: dict[str, Any],
    begun_with: int,
    stop_at: int,
    wanted: int,
    accepted: str,
) -> None:
    tables = runs.pretraining(store, tmp_path / "run", **changes)
    if stop_at == begun_with:
        runs.done(lasting(tables, begun_with))
    else:
        begun(tables, begun_with, stop_at)
    said = refused(lasting(tables, wanted), RunError)
    assert f"{stop_at} of {begun_with} steps are done, and with train.steps = {wanted} their learning rate" in said
    assert f"accepted are {accepted}" in said


def test_another_number_of_epochs_is_another_run(pretrained: Path, labelled: Path, tmp_path: Path, refused) -> None:
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run")
    begun(tables, 4, 2)
    del tables["train"]["steps"]
    tables["train"]["epochs"] = 2.0
    assert "holds another run (train.epochs: 2.0 here, unset there; train.steps: unset here, 4 there)" in refused(
        tables, RunError
    )


def test_a_runs_own_recipe_goes_on_with_it(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    """Though it says how many steps an epoch came to, and the run was asked for by the epoch."""
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run")
    del tables["train"]["steps"]
    tables["train"]["epochs"] = 1.0
    with pytest.raises(Stopped):
        runs.done(tables, *runs.stopping_at(2))
    home = tmp_path / "run"
    asked = (home / "asked.toml").read_text(encoding="utf-8")
    runs.done(Recipe.read(home / "recipe.toml").tables())
    assert (home / "asked.toml").read_text(encoding="utf-8") == asked
    assert runs.same_weights(home, runs.done(tables | {"out": str(tmp_path / "other")}))


def test_the_average_is_what_is_judged_and_kept(unbroken: Path) -> None:
    """Beside it in a checkpoint are the weights that go on training, and they are others."""
    last = unbroken / "checkpoints" / "step-00000012"
    kept, raw = runs.weights(last), load_file(last / "raw.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in runs.weights(unbroken / "model").items())
    words = "bert.embeddings.word_embeddings.weight"
    assert raw["encoder.words.weight"].shape == kept[words].shape
    assert not torch.equal(raw["encoder.words.weight"], kept[words])
    assert not (unbroken / "model" / "raw.safetensors").exists()


def test_the_best_average_becomes_the_model(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    changes = {"train__average": 0.9, "train__steps": 8, "train__lr": 1e-3, "save__model": "best"}
    home = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "run", **changes))
    scores = {line["step"]: line["heldout"]["classify.accuracy"] for line in runs.metrics(home) if "heldout" in line}
    kept = list((home / "checkpoints").iterdir())
    final = runs.weights(home / "model")
    same = [p.name for p in kept if all(torch.equal(t, final[name]) for name, t in runs.weights(p).items())]
    assert len(same) == 1
    assert scores[int(same[0].removeprefix("step-"))] == max(scores.values())


def test_the_plan_follows_its_schedules(store: Path, tmp_path: Path) -> None:
    recipe = Recipe.of(runs.pretraining(store, tmp_path / "run", **EVERYTHING | {"task": "mlm"}))
    source = open_source(recipe, task_of(recipe.task, recipe.tasks))
    feed = source.feed(recipe)

    def hidden(batch: Batch, rate: float) -> bool:
        return batch.counts["mlm"] == sum(max(1, round(rate * (length - 2))) for length in batch.lengths)

    for step in (0, 5, 9, 17, 30):
        batches = feed(step)
        assert all(hidden(batch, 0.3 - 0.15 * min(1.0, step / 18)) for batch in batches)
        assert max(max(batch.lengths) for batch in batches) <= (16 if step < 9 else 32)
        assert sum(map(len, batches)) == 8
    assert all(hidden(batch, 0.15) for batch in source.heldout(64))


def test_rows_are_not_cut_shorter_at_first(pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused) -> None:
    said = refused(runs.finetuning(pretrained, labelled, tmp_path / "run", data__start_length=16))
    assert said == "task classify learns from labelled rows, which are not cut; leave out data.start_length"


def test_the_models_own_measures_are_those_of_the_average(unbroken: Path, store: Path) -> None:
    """What a run says of the held-out text is what its model comes to when it is judged again."""
    heldout = [line["heldout"] for line in runs.metrics(unbroken) if "heldout" in line][-1]
    report = Answerer(str(unbroken), precision="fp32", length=32).evaluate_store(str(store), 16)
    assert report == pytest.approx(heldout, rel=1e-4)


def test_another_seed_drops_other_numbers(store: Path, tmp_path: Path) -> None:
    """Of the same weights, on the same batch."""
    recipe = Recipe.of(runs.pretraining(store, tmp_path / "run", task="mlm", encoder__arch="bert", train__dropout=0.3))
    source = open_source(recipe, task_of(recipe.task, recipe.tasks))
    feed = source.feed(recipe)

    def loss(seed: int) -> float:
        model, _ = begin(recipe, source.task, source.tokenizer)
        model.set_dropout(0.3)
        (step,) = loop_of(replace(recipe, seed=seed), model, feed, 1).steps(1)
        return source.task.report(step.sums)["mlm.loss"]

    assert loss(1) == loss(1) != loss(2)


@pytest.mark.parametrize("number", [0, 16])
def test_what_is_judged_is_the_text_that_is_held_out(store: Path, tmp_path: Path, number: int) -> None:
    """With what was hidden put back, every piece is found in the held-out part, and none of it in the other."""
    recipe = Recipe.of(runs.pretraining(store, tmp_path / "run", task="mlm", evaluate__examples=number))
    parts = TokenStore(store)
    held, learned = (bytes(p.stretch(0, p.tokens).astype("<i8")) for p in (parts.heldout, parts.train))
    pieces = []
    for batch in open_source(recipe, task_of(recipe.task, recipe.tasks)).heldout(64):
        ids = batch.ids.index_copy(0, *batch.labels["mlm"]).numpy()
        pieces += [piece[1:-1].astype("<i8") for piece in np.split(ids, np.cumsum(batch.lengths)[:-1])]
    long = [bytes(piece) for piece in pieces if len(piece) > 20]
    assert long
    assert all(piece in held and piece not in learned for piece in long)
    if number == 0:
        assert sum(map(len, pieces)) == parts.heldout.tokens
