"""How threads wait is set before torch reads it, and what the person has set stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bertwright.openmp import is_set_by_the_person, spin_a_while


@pytest.mark.parametrize(
    ("given", "then", "persons"),
    [
        ({}, {"GOMP_SPINCOUNT": "20000"}, False),
        ({"GOMP_SPINCOUNT": "20000"}, {"GOMP_SPINCOUNT": "20000"}, False),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}, True),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, {"OMP_WAIT_POLICY": "PASSIVE"}, True),
    ],
)
def test_what_the_person_has_set_stays(
    given: dict[str, str], then: dict[str, str], persons: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spin_a_while()
    assert {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ} == then
    assert is_set_by_the_person() is persons


@pytest.mark.parametrize(
    "begin", ["import bertwright.hf", "import bertwright.cli, bertwright.openmp as o; o.spin_a_while()"]
)
def test_it_is_set_before_torch_is_there(begin: str) -> None:
    code = f"{begin}; import os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["20000", "False"]
