"""Minimal pairs: what a file may hold, what the table says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.errors import CheckpointError, InputError
from bertwright.run.minimal_pairs import Judge, Pair, Scored, facts, pairs_of, table, written
from bertwright.text.formats import read_rows

PAIRS = [
    {
        "good": "The captain saw the storm.",
        "bad": "The captain storm the saw.",
        "uid": "order",
        "term": "t",
        "field": "f",
    },
    {
        "good": "Садовник полил белую розу.",
        "bad": "Садовник розу белую полил.",
        "uid": "order",
        "term": "t",
        "field": "f",
    },
    {"good": "The same again.", "bad": "The same again.", "uid": "tie", "term": "t", "field": "g"},
    {"good": "the  tide", "bad": "the tide", "uid": "tie", "term": "u", "field": "g"},
]
BLIMP = {"good": "sentence_good", "bad": "sentence_bad", "uid": "UID", "term": "linguistics_term", "field": "field"}


@pytest.fixture(scope="module")
def judge(pretrained: Path) -> Judge:
    return Judge(str(pretrained))


def test_a_tie_counts_half(judge: Judge) -> None:
    scored = judge(pairs_of(PAIRS))
    assert [one.pair.good for one in scored] == [pair["good"] for pair in PAIRS]
    assert [one.right for one in scored[2:]] == [0.5, 0.5]
    assert all(one.good < 0 and one.bad < 0 for one in scored)
    lines = {(line.kind, line.name): line for line in table(scored)}
    assert list(lines) == [
        ("all", "pairs"), ("field", "f"), ("field", "g"), ("term", "t"), ("term", "u"), ("uid", "order"), ("uid", "tie")
    ]  # fmt: skip
    assert lines["uid", "tie"].right.value == 0.5
    assert lines["all", "pairs"].pairs == 4
    expected = sum(one.right for one in scored) / 4
    assert lines["all", "pairs"].right.value == expected
    assert lines["all", "pairs"].right.low < expected < lines["all", "pairs"].right.high


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_every_kind_of_file_and_the_names_of_blimp(tmp_path: Path, kind: str) -> None:
    path = runs.write_rows(tmp_path / f"pairs.{kind}", [{BLIMP[key]: pair[key] for key in pair} for pair in PAIRS])
    again = [pair._replace(where="") for pair in pairs_of(read_rows(path))]
    assert again == [pair._replace(where="") for pair in pairs_of(PAIRS)]


def test_groups_may_be_missing_from_all(judge: Judge) -> None:
    lines = table(judge(pairs_of([{"good": "a b", "bad": "b a"}])))
    assert [(line.kind, line.name) for line in lines] == [("all", "pairs")]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"good": ""}, r"pairs.jsonl:2: 'good' or 'sentence_good' is empty"),
        ({"bad": " "}, r"pairs.jsonl:2: 'bad' or 'sentence_bad' is empty"),
        ({"bad": None}, r"pairs.jsonl:2: 'bad' or 'sentence_bad' is empty"),
        ({"bad": 7}, r"pairs.jsonl:2: 'bad' or 'sentence_bad' is a int, not text"),
        ({"bad": ...}, r"pairs.jsonl:2: 'bad' or 'sentence_bad' is missing"),
        ({"uid": ...}, r"pairs.jsonl:2: uid is missing, which the first pair has"),
        ({"term": ..., "field": ""}, r"pairs.jsonl:2: field and term is missing"),
    ],
)
def test_a_row_that_is_no_pair_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    broken = {key: value for key, value in (PAIRS[1] | change).items() if value is not ...}
    path = runs.write_rows(tmp_path / "pairs.jsonl", [PAIRS[0], broken])
    with pytest.raises(InputError, match=why):
        pairs_of(read_rows(path))


def test_sentences_must_fit(judge: Judge) -> None:
    with pytest.raises(InputError, match=r"row 1: the bad side has 6\d\d tokens; accepted are 1 to 510"):
        judge(pairs_of([{"good": "a", "bad": "a " * 600}]))
    with pytest.raises(InputError, match="row 1: the good side has 0 tokens"):
        judge(pairs_of([{"good": "\u0001", "bad": "a"}]))
    with pytest.raises(InputError, match="no pairs"):
        table(judge([]))


def test_a_model_without_a_masked_lm_is_refused(classifier: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot fill masks: its task is classify"):
        Judge(str(classifier))


def test_the_table_in_words_and_as_json() -> None:
    pair = Pair("a", "b", {"uid": "порядок слов"}, "row 1")
    lines = table([Scored(pair, -1.0, -2.0), Scored(pair, -2.0, -1.0), Scored(pair, -1.0, -1.0)])
    said = facts(lines, {"pll": "original"})
    assert said["pll"] == "original"
    assert said["all"] == said["uid"]["порядок слов"]
    assert said["all"]["accuracy"] == 0.5
    assert said["all"]["pairs"] == 3
    assert list(written(lines))[-1].split() == "порядок слов 3 50.0 12.5 to 87.5".split()
