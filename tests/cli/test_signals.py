"""Processes that are killed, terminated or interrupted, and started again with the same command."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import runs

Start = Callable[..., "subprocess.Popen[str]"]
STEPS = 80


@pytest.fixture
def command(store: Path, tmp_path: Path) -> list[object]:
    sets = ("save.every=8", "evaluate.every=30", "evaluate.examples=16", "train.dropout=0.1", "train.micro_tokens=64")
    return [
        "pretrain", store, "--out", tmp_path / "run", "--size", "tiny", "--steps", STEPS, "--batch-size", 4,
        "--length", 32, *(word for one in sets for word in ("--set", one)),
    ]  # fmt: skip


def until(process: subprocess.Popen[str], home: Path, lines: int) -> None:
    """Waits until so many steps are logged."""
    log = home / "metrics.jsonl"
    ends = time.monotonic() + 300
    while not log.is_file() or log.read_bytes().count(b'"lr"') < lines:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.002)


def saved(home: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in sorted((home / "checkpoints").glob("step-*"))]


def test_every_end_of_a_process_leads_to_the_same_weights(
    command: list[object], store: Path, tmp_path: Path, start: Start
) -> None:
    home = tmp_path / "run"

    process = start(*command)
    until(process, home, 1)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert saved(home) == []

    process = start(*command)
    until(process, home, 14)
    time.sleep(random.uniform(0, 0.05))
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert saved(home)

    for sent, status, lines in ((signal.SIGTERM, 143, 32), (signal.SIGINT, 130, 48)):
        process = start(*command)
        until(process, home, lines)
        process.send_signal(sent)
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == (status, "")
        step = saved(home)[-1]
        assert lines <= step < STEPS
        assert "bertwright: stopping after this step; once more ends at once" in err.splitlines()
        assert err.splitlines()[-1] == f"bertwright: stopped at step {step}; the same command goes on from there"
        assert "Traceback" not in err

    process = start(*command)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert f"Going on from step {step} of {STEPS}." in err
    assert "mlm.loss" in out

    unbroken = start(*(tmp_path / "unbroken" if word == home else word for word in command))
    unbroken.communicate(timeout=300)
    assert runs.metrics(home) == runs.metrics(tmp_path / "unbroken")
    assert runs.same_weights(home, tmp_path / "unbroken")
    assert sorted(path.name for path in home.iterdir()) == sorted(
        path.name for path in (tmp_path / "unbroken").iterdir()
    )


def test_an_interrupted_preparation_says_what_it_leaves(tmp_path: Path, start: Start) -> None:
    out = tmp_path / "store"
    process = start("prepare", "-", "--out", out)
    process.stdin.write("The captain saw the storm.\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]
    ends = time.monotonic() + 120
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    said = process.stderr.read().splitlines()  # type: ignore[union-attr]
    assert said == [f"bertwright: stopped; {out} was not made, and the same command begins anew."]
    assert not out.exists()
