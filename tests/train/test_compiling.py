"""When layers are compiled, and what is said where they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bertwright.errors import RecipeError
from bertwright.train.compiling import compiles, missing

CPU = torch.device("cpu")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program where CXX says that the compiler is."""
    program = tmp_path / "c++"
    program.touch(0o755)
    monkeypatch.setenv("CXX", str(program))
    return program


def test_a_cpu_compiles_only_when_asked_to(compiler: Path) -> None:
    assert missing(CPU) == ""
    assert {asked: compiles(asked, CPU) for asked in ("auto", "on", "off")} == {"auto": False, "on": True, "off": False}


@pytest.mark.parametrize("named", ["", "g++-none"])
def test_without_a_compiler_nothing_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", named)
    assert not compiles("on", CPU)
    assert missing(CPU).startswith("a C++ compiler: there is no ")
    assert (named or "g++") in missing(CPU).replace("clang++", "g++")


def test_another_word_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"unknown setting train.compile = 'yes'; known are auto, on, off"):
        compiles("yes", CPU)
