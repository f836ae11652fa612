"""A run of adaptive masked LM that was broken off comes to the same weights, masks and state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs
import torch
import transformers
from safetensors.torch import load_file

from bertwright.run.answering import Answerer, filler
from bertwright.train.checkpoint import saved

ADAPTIVE: dict[str, Any] = {
    "task": "amlm+nsp",
    "tasks.amlm.every": 2,
    "train__steps": 9,
    "train__dropout": 0.1,
    "train__micro_tokens": 64,
    "train__average": 0.9,
    "save__every": 3,
}


@pytest.fixture(scope="module")
def unbroken(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.done(runs.pretraining(store, tmp_path_factory.mktemp("amlm") / "run", **ADAPTIVE))


def state(home: Path) -> dict[str, torch.Tensor]:
    return load_file(saved(home)[-1] / "buffers.safetensors")


@pytest.mark.parametrize("step", [1, 4, 6, 8])
def test_killed_and_started_again(unbroken: Path, store: Path, tmp_path: Path, step: int) -> None:
    tables = runs.pretraining(store, tmp_path / "run", **ADAPTIVE)
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(step))
    home = runs.done(tables)
    assert runs.metrics(home) == runs.metrics(unbroken)
    assert runs.same_weights(home, unbroken)
    mine, theirs = state(home), state(unbroken)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_its_masks_follow_the_state(unbroken: Path, store: Path, tmp_path: Path) -> None:
    weights = state(unbroken)["head.amlm.weights"]
    assert float(weights.min()) < float(weights.max()) < 1
    assert int(state(unbroken)["head.amlm.steps"]) == 9
    plain = runs.done(runs.pretraining(store, tmp_path / "run", **ADAPTIVE | {"tasks.amlm.memory": 1.0}))
    mine, theirs = (runs.metrics(home) for home in (unbroken, plain))
    assert [line.get("amlm.commonest") for line in mine[:2]] == [line.get("amlm.commonest") for line in theirs[:2]]
    assert mine != theirs


def test_transformers_reads_it_as_masked_lm(unbroken: Path) -> None:
    kind: Any = transformers.BertForPreTraining
    _, info = kind.from_pretrained(unbroken / "model", output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    assert len(filler(str(unbroken)).fill("The [MASK] turned.")[0]) == 5


def test_judged_again_it_is_the_same(unbroken: Path, store: Path) -> None:
    heldout = [line["heldout"] for line in runs.metrics(unbroken) if "heldout" in line][-1]
    report = Answerer(str(unbroken), precision="fp32", length=32).evaluate_store(str(store), 16)
    assert report == pytest.approx(heldout, rel=1e-4)


def test_a_run_without_such_state_writes_none(pretrained: Path) -> None:
    assert not (saved(pretrained)[-1] / "buffers.safetensors").exists()
