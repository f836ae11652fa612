"""The README is true: its two commands have the right shape, and its examples run as they are written.

A comment on the line before a code block says what is done with it:

    <!-- quickstart command -->   one line, checked for its shape here
    <!-- test command -->         one line, checked for its shape here and run by .ci/run
    <!-- file: NAME -->           the block is the content of the file NAME
    <!-- tested -->               every line is run, in order, in one folder that holds `texts/` and the files above

Training verbs get CHEAPER appended, since the last of two equal options counts.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHEAPER = {"pretrain": "--size tiny --steps 4", "finetune": "--steps 4"}
WORDS = "ship storm harbour captain letter winter garden river morning city lamp window table song bread market".split()


class Block(NamedTuple):
    marker: str
    """The text of the comment on the line before, or ''."""
    text: str

    @property
    def commands(self) -> list[str]:
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(markdown: str) -> list[Block]:
    """The fenced code blocks of a page, each with the comment that marks it."""
    fenced = re.compile(r"(?:^<!-- (?P<marker>[^\n]*?) -->\n)?^```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(found["marker"] or "", found["text"]) for found in fenced.finditer(markdown)]


README = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _only(marker: str) -> str:
    found = [block for block in README if block.marker == marker]
    assert len(found) == 1
    (command,) = found[0].commands
    return command


def write_files(folder: Path) -> None:
    """The small corpus `texts/` that the README's examples speak of, and the files that the README shows."""
    texts = folder / "texts"
    texts.mkdir()
    for book in range(3):
        documents = [
            " ".join(
                f"The {WORDS[(a + b + book) % 16]} stood by the {WORDS[(3 * a + b) % 16]} until the "
                f"{WORDS[(a + 5 * b) % 16]} was gone."
                for b in range(6)
            )
            for a in range(40)
        ]
        (texts / f"book-{book}.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    for block in README:
        if block.marker.startswith("file: "):
            (folder / block.marker.removeprefix("file: ")).write_text(block.text, encoding="utf-8")


def cheaper(command: str) -> str:
    words = shlex.split(command)
    return f"{command} {CHEAPER[words[1]]}" if words[0] == "bertwright" and words[1] in CHEAPER else command


def test_the_first_command_installs_and_runs_the_quickstart() -> None:
    assert _only("quickstart command") == "pip install '.[quickstart]' && bertwright quickstart"
    assert "quickstart" in PROJECT["optional-dependencies"]
    assert "bertwright" in PROJECT["scripts"]


def test_the_second_command_installs_and_runs_the_tests() -> None:
    assert _only("test command") == "pip install '.[test]' && pytest"
    assert "test" in PROJECT["optional-dependencies"]


def test_the_check_runs_the_readmes_test_command() -> None:
    """`.ci/run` finds its command in the README by the same marker, and holds no copy of its own."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extract = re.search(r"awk '(.*?)' README\.md", script, re.DOTALL)
    assert extract is not None
    printed = subprocess.run(["awk", extract[1], str(ROOT / "README.md")], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == _only("test command")
    assert "[test]" not in script


def test_the_examples_run_as_written(tmp_path: Path) -> None:
    write_files(tmp_path)
    commands = [command for block in README if block.marker == "tested" for command in block.commands]
    assert commands
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in map(cheaper, commands):
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, f"$ {command}\n{run.stdout}{run.stderr}"


def test_marked_blocks_are_told_apart() -> None:
    page = (
        "```sh\na\n```\n<!-- tested -->\n```sh\n# why\nb \\\n  --c d\n\ne\n```\n<!-- file: x.csv -->\n```\n1,2\n```\n"
    )
    plain, tested, file = blocks(page)
    assert (plain.marker, plain.commands) == ("", ["a"])
    assert (tested.marker, tested.commands) == ("tested", ["b    --c d", "e"])
    assert (file.marker, file.text) == ("file: x.csv", "1,2\n")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("bertwright pretrain store --out runs/a", "bertwright pretrain store --out runs/a --size tiny --steps 4"),
        ("bertwright inspect runs/a", "bertwright inspect runs/a"),
        ("ls pretrain", "ls pretrain"),
    ],
)
def test_training_is_made_cheaper(command: str, expected: str) -> None:
    assert cheaper(command) == expected
