"""What memory there is: of the system, of control groups, of the process's own limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from bertwright.train.memory import free_memory, left_in

LIMITED = """
import resource, torch
from bertwright.train.memory import free_memory
cpu = torch.device("cpu")
before = free_memory(cpu)
used = 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData")))
resource.setrlimit(resource.RLIMIT_DATA, (used + (300 << 20), resource.RLIM_INFINITY))
print(before, free_memory(cpu))
"""


def test_no_more_is_free_than_there_is() -> None:
    with open("/proc/meminfo") as lines:
        whole = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemTotal")))
    assert 0 < free_memory(torch.device("cpu")) < whole


def test_a_limit_of_the_process_counts() -> None:
    run = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True, timeout=300)
    before, after = map(int, run.stdout.split())
    assert after <= 300 << 20
    assert after >= min(before, 200 << 20)


def test_a_control_group_leaves_what_is_not_used_but_for_pages_of_files(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\nfile 200\ninactive_file 150\n")
    assert list(left_in(tmp_path, "memory.max", "memory.current")) == [450]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(left_in(tmp_path, "memory.max", "memory.current")) == []
    assert list(left_in(tmp_path / "none", "memory.max", "memory.current")) == []
