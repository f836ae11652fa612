"""What a run says that it runs on, and that nothing of it changes what is learned."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import torch

from bertwright.run.spec import Recipe

ELSEWHERE = """
import torch
assert not torch.ops.mkldnn._is_mkldnn_bf16_supported()
from bertwright.cli import main
main()
"""


def said_by(watcher: runs.Watcher) -> str:
    (line,) = [line for line in watcher.said if line.startswith("Runs on ")]
    return line


def test_a_run_says_what_it_runs_on(store: Path, tmp_path: Path) -> None:
    watcher = runs.Watcher()
    runs.done(runs.pretraining(store, tmp_path / "run", train__steps=1), watcher)
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    assert re.fullmatch(
        rf"Runs on the CPU: {threads}, fp32(, memory kept by the allocator)?, 8,192 tokens a forward pass\.",
        said_by(watcher),
    )
    resolved = Recipe.read(tmp_path / "run" / "recipe.toml").train
    assert (resolved.micro_tokens, resolved.threads) == (8192, torch.get_num_threads())


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"train__budget": "0.2s"}, r"[\d,]+ steps? fills? 0.2s at the present pace\."), ({}, r"1\d steps in all\.")],
)
def test_a_run_says_how_long_it_is(pretrained: Path, tmp_path: Path, asked: dict[str, object], said: str) -> None:
    watcher = runs.Watcher()
    rows = runs.write_rows(tmp_path / "train.jsonl", runs.rows(36, seed=3))
    runs.done(runs.finetuning(pretrained, rows, tmp_path / "run", **{"train__steps": None, **asked}), watcher)
    assert [line for line in watcher.said if re.fullmatch(said, line)]


def test_a_run_that_goes_on_says_where_its_length_comes_from(store: Path, tmp_path: Path) -> None:
    """Nothing is measured then."""
    tables = runs.pretraining(store, tmp_path / "run", train__steps=None, train__budget="0.3s", save__every=1)
    with pytest.raises(runs.Killed):
        runs.done(tables, runs.killed_at(1))
    steps = Recipe.read(tmp_path / "run" / "recipe.toml").train.steps
    watcher = runs.Watcher()
    runs.done(tables, watcher)
    unit = "step" if steps == 1 else "steps"
    assert f"{steps} {unit} in all, as settled from 0.3s when the run began." in watcher.said
    assert not [line for line in watcher.said if "at the present pace" in line]


def test_without_a_compiler_it_says_so_and_runs_as_written(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    watcher = runs.Watcher()
    home = runs.done(runs.pretraining(store, tmp_path / "on", train__steps=2, train__compile="on"), watcher)
    assert (
        "train.compile is on, and it takes a C++ compiler: there is no no-such-compiler, and CXX can name another: "
        "the layers run as they are written." in watcher.said
    )
    assert runs.same_weights(home, runs.done(runs.pretraining(store, tmp_path / "off", train__steps=2)))


def test_other_threads_and_another_instruction_set_follow_the_same_plan(store: Path, tmp_path: Path) -> None:
    """Two threads where tests have one, and a processor that is told not to use bf16."""
    here = runs.done(runs.pretraining(store, tmp_path / "here", train__precision="bf16"))
    recipe = tmp_path / "asked.toml"
    recipe.write_text(Recipe.of(runs.pretraining(store, tmp_path / "there", train__precision="bf16")).write())
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, "train", recipe], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert "Runs on the CPU: 2 threads, fp32, " in run.stderr
    assert "train.precision is bf16, which the CPU has no instructions for: it trains in fp32." in run.stderr
    assert Recipe.read(tmp_path / "there" / "recipe.toml").train.threads == 2
    alike = (f"out={tmp_path}", "train.threads=1")
    mine, theirs = (Recipe.read(home / "recipe.toml", alike).write() for home in (here, tmp_path / "there"))
    assert mine == theirs
    for one, other in zip(runs.metrics(here), runs.metrics(tmp_path / "there"), strict=True):
        if "heldout" in one:
            continue
        assert one["mlm.commonest"] == other["mlm.commonest"]
        assert one["mlm.loss"] == pytest.approx(other["mlm.loss"], rel=1e-2)


@pytest.mark.long
def test_compiled_layers_learn_the_same_under_the_same_names(store: Path, tmp_path: Path) -> None:
    """In a process of its own: what compiles has warnings of its own."""
    off = runs.done(runs.pretraining(store, tmp_path / "off", train__steps=1))
    recipe = tmp_path / "asked.toml"
    recipe.write_text(Recipe.of(runs.pretraining(store, tmp_path / "on", train__steps=1, train__compile="on")).write())
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    command = [sys.executable, "-c", "from bertwright.cli import main; main()", "train", recipe]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    assert ", layers compiled, " in run.stderr
    assert any((tmp_path / "cache" / "bertwright" / "inductor").iterdir())
    for folder in ("model", "checkpoints/step-00000001"):
        mine, theirs = (runs.weights(home / folder) for home in (tmp_path / "on", off))
        assert mine.keys() == theirs.keys()
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)
