"""Files of annotations: CoNLL columns and SQuAD's JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertwright.errors import InputError
from bertwright.text.formats import read_rows

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

# a comment of the file
# sent_id = 2
Москва\tNNP\tB-NP\tB-LOC
# NN B-NP O
"""
CONLLU = """# sent_id = 1
# text = vámonos
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tx\tx\tX\t_\t_\t_\t_\t_\t_

1\t海\t海\tNOUN\tN\t_\t0\troot\t_\t_
"""
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Sea",
            "paragraphs": [
                {
                    "context": "Лодка вышла.",
                    "qas": [
                        {"id": "a", "question": "Что?", "answers": [{"text": "Лодка", "answer_start": 0}]},
                        {"id": "b", "question": "Где?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


def rows_of(path: Path, content: str) -> list[Any]:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return list(read_rows(path))


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.bio", "a.conll.gz"])
def test_columns_are_called_by_number(tmp_path: Path, name: str) -> None:
    one, other = rows_of(tmp_path / name, CONLL)
    assert (one["tokens"], one["tags"]) == (["EU", "rejects"], ["B-ORG", "O"])
    assert (one["1"], one["2"], one["4"]) == (one["tokens"], ["NNP", "VBZ"], one["tags"])
    assert (other["tokens"], other["tags"]) == (["Москва", "#"], ["B-LOC", "O"])
    assert (one.where, other.where) == (f"{tmp_path / name}:3", f"{tmp_path / name}:6")


def test_words_of_conllu(tmp_path: Path) -> None:
    one, other = rows_of(tmp_path / "a.conllu", CONLLU)
    assert (one["tokens"], one["tags"], one["xpos"]) == (["vamos", "nos"], ["VERB", "PRON"], ["V", "P"])
    assert (other["tokens"], other["upos"], other["lemma"]) == (["海"], ["NOUN"], ["海"])


def test_a_lone_column_is_tokens(tmp_path: Path) -> None:
    (one,) = rows_of(tmp_path / "a.conll", "дождь\nidёт\n")
    assert one == {"tokens": ["дождь", "idёт"], "1": ["дождь", "idёт"]}


def test_questions_of_squad(tmp_path: Path) -> None:
    one, other = rows_of(tmp_path / "a.json", json.dumps(SQUAD))
    assert one["question"] == "Что?"
    assert one["context"] == other["context"] == "Лодка вышла."
    assert (one["answers"], other["answers"]) == ([{"text": "Лодка", "answer_start": 0}], [])
    assert other.where.endswith("a.json:article 1, question b")


@pytest.mark.parametrize(
    "content", ['[{"text": "да"}, {"text": "\\ud83d"}]', '{"data": [{"text": "да"}, {"text": "�"}]}']
)
def test_a_list_of_objects(tmp_path: Path, content: str) -> None:
    assert [row["text"] for row in rows_of(tmp_path / "a.json", content)] == ["да", "\ufffd"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conll", "EU O\nrejects VBZ O\n", "a.conll:2: 3 columns where the first token has 2"),
        ("a.conllu", "1\tEU\n", "a.conllu:1: 2 columns; CoNLL-U has 10, parted by tabs"),
        ("a.conll", "\n\n", "a.conll: the file has no rows"),
        ("a.json", "[1, 2]", "a.json: expected a list of objects, or one in `data`, as SQuAD has it"),
        ("a.json", "{", "a.json: not JSON"),
        (
            "a.json",
            '{"data": [{"paragraphs": [{"qas": [{}]}]}]}',
            "a.json:article 1, paragraph 1: expected `context` and",
        ),
        (
            "a.json",
            '{"data": [{"paragraphs": null}]}',
            "a.json:article 1: expected a list of `paragraphs`, as SQuAD has",
        ),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path / name, content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
