"""Names that are files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertwright.encoders.base import Encoder
from bertwright.errors import RecipeError
from bertwright.named import find, names
from bertwright.tasks import PLUMBING
from bertwright.tasks.base import Task
from bertwright.tasks.mlm import MaskedLM

TASKS = "bertwright.tasks"
MINE = """
from __future__ import annotations
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from bertwright.flow import Document
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.pairs import PairTask

@dataclass(frozen=True, kw_only=True)
class Mine(PairTask):
    kinds: ClassVar[tuple[str, ...]] = ("mine",)
    share: float = 0.5

    def pairs(self, item: Document, rng) -> Iterator:
        yield item.sentences[0], item.sentences[0], 0
"""
TWO = MINE + MINE[MINE.index("@dataclass") :].replace("Mine", "Other")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_the_folder_is_the_list() -> None:
    folder = Path(__file__).resolve().parents[1] / "src" / "bertwright" / "tasks"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(names(TASKS)) == names(TASKS)
    assert {*names(TASKS), *PLUMBING} == files
    assert not set(names(TASKS)) & set(PLUMBING)
    assert {"mlm", "nsp", "classify"} <= set(names(TASKS))


def test_a_name_is_the_class_of_its_file() -> None:
    assert find(TASKS, "mlm", Task) is MaskedLM
    assert all(find(TASKS, name, Task)().name == name for name in names(TASKS))
    assert all(issubclass(find("bertwright.encoders", name, Encoder), Encoder) for name in names("bertwright.encoders"))


@pytest.mark.parametrize("suffix", ["", ":Mine"])
def test_a_class_of_your_own(mine: Path, suffix: str) -> None:
    kind = find(TASKS, f"{mine}{suffix}", Task)
    assert kind.__name__ == "Mine"
    assert kind().name == "mine"
    assert kind(share=0.25).settings == {"share": 0.25}
    assert kind(**kind(share=0.25).settings) == kind(share=0.25)


def test_a_file_of_your_own_hides_no_module(tmp_path: Path) -> None:
    import random

    (tmp_path / "random.py").write_text(MINE)
    assert find(TASKS, f"{tmp_path}/random.py", Task)().name == "random"
    import random as still

    assert still is random
    assert hasattr(still, "Random")


def test_two_classes_in_a_file_need_a_name(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(TWO)
    with pytest.raises(RecipeError, match=r"one concrete Task, found Mine, Other; name it as .*two.py:Class"):
        find(TASKS, str(path), Task)
    assert find(TASKS, f"{path}:Other", Task).__name__ == "Other"
    with pytest.raises(RecipeError, match="found Mine, Other"):
        find(TASKS, f"{path}:Third", Task)


def test_a_file_that_is_no_python_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("x = 1\nclass Mine(\n")
    with pytest.raises(RecipeError, match=r"mine.py, line 2: '\(' was never closed$"):
        find(TASKS, f"{path}:Mine", Task)


def test_imported_and_abstract_classes_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "none.py"
    path.write_text("from bertwright.tasks.mlm import MaskedLM\nfrom bertwright.tasks.pairs import PairTask\n")
    with pytest.raises(RecipeError, match="found none"):
        find(TASKS, str(path), Task)


def test_a_class_of_another_kind_is_refused(mine: Path) -> None:
    with pytest.raises(RecipeError, match="one concrete Encoder, found none"):
        find("bertwright.encoders", f"{mine}:Mine", Encoder)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError) as caught:
        find(TASKS, "mml", Task)
    assert str(caught.value).startswith("unknown task 'mml'; did you mean mlm? Known are amlm, ")
    assert all(name in str(caught.value) for name in [*names(TASKS), "file.py:Class"])


@pytest.mark.parametrize("plumbing", PLUMBING)
def test_plumbing_is_no_name(plumbing: str) -> None:
    with pytest.raises(RecipeError, match="unknown task"):
        find(TASKS, plumbing, Task)


@pytest.mark.parametrize("asked", ["nowhere/mine.py", "nowhere/mine.py:Mine", ".py"])
def test_a_missing_file_is_one_line(asked: str) -> None:
    with pytest.raises(RecipeError, match="no such Python file"):
        find(TASKS, asked, Task)
