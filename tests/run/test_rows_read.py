"""What a run says of its labelled rows before it learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs


def said(tables: dict[str, Any]) -> list[str]:
    watcher = runs.Watcher()
    runs.done(tables, watcher)
    return watcher.said


def test_how_many_rows_there_are_and_whether_some_are_kept_back(pretrained: Path, tmp_path: Path) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", runs.rows(40))
    dev = runs.write_rows(tmp_path / "dev.jsonl", runs.rows(6, seed=5))
    alone = said(runs.finetuning(pretrained, train, tmp_path / "alone", train__steps=1))
    (line,) = [line for line in alone if "to learn from" in line]
    learned, kept = (int(word) for word in line.split() if word.isdigit() and word != "2")
    assert learned + kept == 40
    assert line == f"{learned} rows to learn from, {kept} kept to judge by (a tenth, as there is no --dev); 2 classes."
    beside = said(runs.finetuning(pretrained, train, tmp_path / "beside", train__steps=1, data__dev=[str(dev)]))
    assert "40 rows to learn from, 6 to judge by; 2 classes." in beside
    assert not [line for line in beside if "longer than" in line]


def pairs(number: int) -> list[dict[str, Any]]:
    made = zip(runs.rows(number, seed=3), runs.rows(number, seed=4), strict=True)
    return [{"text_a": one["text"], "text_b": other["text"], "label": one["label"]} for one, other in made]


@pytest.mark.parametrize(
    ("task", "rows", "columns"),
    [
        ("classify", runs.rows(12), ["text"]),
        ("pair", pairs(12), ["text_a", "text_b"]),
        ("embed", pairs(12), ["text_b"]),
    ],
)
def test_rows_that_are_cut_are_counted(
    pretrained: Path, tmp_path: Path, task: str, rows: list[dict[str, Any]], columns: list[str]
) -> None:
    longer = [row | {column: row[column] * 6 for column in columns} for row in rows[:3]]
    train = runs.write_rows(tmp_path / "train.jsonl", [*longer, *rows[3:]])
    both = {"task": task, "data__dev": [str(train)]}
    cut = said(runs.finetuning(pretrained, train, tmp_path / "cut", **both))
    assert "3 of 12 rows are longer than 32 tokens and are cut there; --length reads more." in cut
    whole = said(runs.finetuning(pretrained, train, tmp_path / "whole", **both, data__length=128))
    assert not [line for line in whole if "longer than" in line]


def test_what_goes_in_windows_is_not_cut(pretrained: Path, tmp_path: Path) -> None:
    tokens = [row["text"].split() * 9 for row in runs.rows(12)]
    rows = [{"tokens": some, "tags": ["first", *["other"] * (len(some) - 1)]} for some in tokens]
    train = runs.write_rows(tmp_path / "train.jsonl", rows)
    assert not [
        line for line in said(runs.finetuning(pretrained, train, tmp_path / "run", task="tag")) if "cut" in line
    ]
