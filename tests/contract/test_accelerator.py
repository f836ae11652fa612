"""What a step of every task waits for on an accelerator, where nobody has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from each_task import TASKS

SCRIPT = Path(__file__).parent / "valueless.py"


def test_a_step_waits_for_nothing() -> None:
    """But for adaptive masked LM, which has the accelerator choose the masks and asks it how many tokens are read."""
    said = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    waited = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    expected = dict.fromkeys([*TASKS, "modern"], "nothing")
    assert waited == expected | {"amlm": "aten._unique2.default"}
