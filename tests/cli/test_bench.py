"""`bertwright bench`: what is printed, what is written, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

Call = Callable[..., Any]
SMALL = ("--size", "tiny", "--length", 16, "--batch-size", 4, "--rounds", 1, "--steps", 2)


def test_a_comparison_on_text(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All contestants but those that are compiled, which are left out for want of a compiler."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("bertwright.run.bench.plot.find_spec", lambda name: None)
    text = runs.write_texts(tmp_path / "text.txt", runs.documents())
    called = call("bench", text, "--out", tmp_path / "out", *SMALL, "--seconds", 0.1)
    assert called.status == 0, called.err
    names = ["bertwright", "bertwright-recipe", "trainer-lines", "trainer-grouped"]
    rows = [line.split() for line in called.out.splitlines() if line]
    assert rows[0] == "tokens/s quartiles times of peak MiB loss after".split()
    assert [row[0] for row in rows[1:5]] == names
    assert all(len(row) == 9 for row in rows[1:5])
    assert called.out.count("left out, torch.compile needs a C++ compiler") == 2
    assert "trainer-best is left out" in called.err
    assert "it needs matplotlib, pip install 'bertwright[bench]'" in called.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.json", "store"]
    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [one["name"] for one in result["contestants"]] == names
    assert list(result["left_out"]) == ["trainer-best", "trainer-best-memory"]
    for one in result["contestants"]:
        check_measured(one, result)


def check_measured(one: dict[str, Any], result: dict[str, Any]) -> None:
    speed, vocabulary = one["tokens_per_second"], result["text"]["vocabulary"]
    assert 0 < speed["lower"] <= speed["median"] <= speed["upper"]
    assert speed["steps"] == 2
    flops = 6 * (12 * 2 * 128**2 + one["labelled"] * (128**2 + 128 * vocabulary))
    assert one["mfu"] == pytest.approx(speed["median"] * flops / result["peak_flops"])
    assert 0.05 < one["labelled"] < 0.3
    assert one["peak_memory"] > 100 << 20
    times = [point["seconds"] for point in one["heldout"]]
    tokens = [point["tokens"] for point in one["heldout"]]
    assert len(times) == 7
    assert times == sorted(set(times))
    assert tokens == sorted(set(tokens))
    assert all(1 < point["loss"] < 8 for point in one["heldout"])
    batch = {"bertwright": 4, "bertwright-recipe": 4, "trainer-lines": 8, "trainer-grouped": 8}[one["name"]]
    full = one["tokens_per_step"] / (batch * 16)
    assert full == 1 if one["name"] == "trainer-grouped" else 0.2 < full < 1


def test_columns_of_what_is_not_measured_are_left_out(call: Call, store: Path, tmp_path: Path) -> None:
    words = ("bench", "--store", store, "--out", tmp_path / "out", *SMALL, "--contestants", "bertwright")
    head, row, *_ = [line.split() for line in call(*words, "--seconds", 0).out.splitlines() if line]
    assert head == "tokens/s quartiles times of peak MiB".split()
    assert len(row) == 6


def test_json_and_a_plot_of_a_store(call: Call, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    called = call(
        "bench", "--store", store, "--out", out, *SMALL, "--seconds", 0.1, "--contestants", "bertwright", "--json"
    )
    assert (called.status, called.err) == (0, "")
    result = json.loads(called.out)
    assert result == json.loads((out / "bench.json").read_text())
    assert [one["name"] for one in result["contestants"]] == ["bertwright"]
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "bench.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("text.txt", "--store", "store"), "bench takes either text or --store, not both"),
        (("text.txt", "--contestants", "fairseq"), "unknown contestant 'fairseq'; known are bertwright"),
        (("text.txt", "--rounds", 0), "rounds and steps are at least 1, not 0 and 4"),
        (("text.txt", "--seconds", -1), "seconds is a number from 0 on, not -1.0"),
        (("text.txt", "--size", "huge"), "unknown size 'huge'"),
        (("text.txt", "--length", 0), "data.length is at least 8, not 0"),
        (("text.txt", "--seed", -1), "Invalid value for '--seed'"),
        (("text.txt", "--out", "/dev/null"), "--out /dev/null: a file; name a folder"),
        (("--store", "nothere"), "nothere: no such token store"),
        (("nothere.txt",), "nothere.txt: no such file or folder"),
    ],
)
def test_bad_use(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    called = call("bench", *words)
    assert (called.status, called.out) == (2, "")
    assert called.err.startswith("bertwright: ")
    assert said in called.err
    assert called.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_text_too_small_to_hold_anything_out(call: Call, tmp_path: Path) -> None:
    text = runs.write_texts(tmp_path / "text.txt", runs.documents(1))
    called = call("bench", text, "--out", tmp_path / "out", *SMALL, "--contestants", "bertwright")
    assert called.status == 2
    assert "is too small to hold anything out" in called.err.splitlines()[-1]
    assert not (tmp_path / "out" / "bench.json").exists()
