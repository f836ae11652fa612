"""The command line called in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
import torch

COMMAND = [sys.executable, "-c", "from bertwright.cli import main; main()"]


class Called(NamedTuple):
    status: int | None
    out: str
    err: str


Call = Callable[..., Called]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """What a command ends with and prints, called in this process."""
    from bertwright.cli import main

    def called(*words: object) -> Called:
        monkeypatch.setenv("BERTWRIGHT_DEBUG", "")
        monkeypatch.setattr("sys.argv", ["bertwright", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Called(ended.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return called


@pytest.fixture
def start() -> Iterator[Start]:
    """A command in a process of its own, which reckons with as many threads as this one, and so to the same bits."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes: list[subprocess.Popen[str]] = []

    def started(*words: object) -> subprocess.Popen[str]:
        command = [*COMMAND, *map(str, words)]
        processes.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]
