"""What a person sees while a run goes on: in a terminal of some width, and in a pipe."""

from __future__ import annotations

import io
import re

import pytest

from bertwright.cli.terminal import Terminal

MEASURES = {f"classify.{name}": 0.5 for name in ("loss", "accuracy")} | {"mlm.loss": 7.1, "tokens_per_second": 21_000}


class Drawn(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_count_and_the_time_left_are_there_in_any_width(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    drawn = Drawn()
    monkeypatch.setattr("sys.stderr", drawn)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with Terminal() as terminal:
        terminal.step(1_234, 10_000, MEASURES)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.getvalue()).rstrip().splitlines()[-1]
    assert re.match(r"training +\S+ +1234/10000 +-:--:--", last)
    assert len(last) <= columns
    assert ("tokens/s" in last) == (columns == 200)


def test_a_pipe_is_told_once_that_a_stage_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        for done in (3_000, 6_000, 6_000, 6_000):
            terminal.bytes("encoding", done, 6_000)
    assert capsys.readouterr().err.splitlines() == ["encoding: 3,000 of 6,000 bytes", "encoding: 6,000 of 6,000 bytes"]
