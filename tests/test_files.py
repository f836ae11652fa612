"""Whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertwright.errors import RunError
from bertwright.files import whole_folder, write_text


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fail_in(path: Path, error: BaseException) -> None:
    with whole_folder(path) as partial:
        (partial / "new.txt").write_text("new")
        raise error


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with whole_folder(path) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "слово.txt").write_text("текст")
        assert not path.exists()
    assert content(path) == {"inner/слово.txt": "текст"}
    assert os.listdir(path.parent) == ["folder"]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with whole_folder(path) as partial:
            (partial / f"{name}.txt").write_text(name)
    assert content(path) == {"new.txt": "new"}
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EACCES, "no right")])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "folder"
    with whole_folder(path) as partial:
        (partial / "old.txt").write_text("old")
    with pytest.raises(type(error)) as caught:
        fail_in(path, error)
    assert caught.value is error
    assert content(path) == {"old.txt": "old"}
    assert os.listdir(tmp_path) == ["folder"]


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        fail_in(tmp_path / "folder", ValueError("no"))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(RunError, match=r"the disk is full: .*folder could not be saved"):
        fail_in(path, OSError(errno.ENOSPC, "No space left on device"))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    code = (
        "import os, sys; from pathlib import Path; from bertwright.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half.txt').write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9
    assert not path.exists()
    with whole_folder(path) as partial:
        assert content(partial) == {}
        (partial / "new.txt").write_text("new")
    assert content(path) == {"new.txt": "new"}
    assert os.listdir(tmp_path) == ["folder"]


def test_a_text_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for text in ("first, and longer", "второй\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["text"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="the system has no /dev/full")
def test_a_text_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    # The file that is written first, as a link to the device that is always full.
    (tmp_path / ".text.partial").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"the disk is full: .*text could not be written"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["text"]
    assert Path("/dev/full").is_char_device()


def test_a_text_without_a_folder_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "text", "new")
