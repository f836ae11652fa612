"""Labelled rows, and the files of annotations that are no tables: SQuAD's JSON, and a token a line in columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from ..errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SAYS = re.compile(r"# \S+ = ")
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


class LabelledRow(dict[str, Any]):
    """A row of a labelled file: its fields by name, and `where` it stands, as file:line, for messages."""

    where: str

    def __init__(self, fields: dict[str, Any], where: str) -> None:
        super().__init__(fields)
        self.where = where


def parsed(text: str) -> Any:
    """What JSON says, without halves of a character (a lone `\\ud83d`), which it can spell and no encoding can write.

    Raises ValueError or RecursionError for what is not JSON.
    """
    value = json.loads(text)
    return _without_surrogates(value) if _SURROGATE_ESCAPE.search(text) else value


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON: null for NaN and infinities, for which it has no word, and text for dates and such."""
    return json.dumps(_finite(row), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(part) for key, part in value.items()}
    return value


def from_columns(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    """Sentences of CoNLL column files (Tjong Kim Sang & De Meulder, 2003): a token a line, a blank line between two.

    A row has each column as a list, called by its number from `1` on; `tokens` is the first and `tags` the last one.
    Columns are parted by tabs where there is one, else by spaces. A line that begins with `# ` and is of another width,
    or says `# name = value`, is a comment, and one that begins with `-DOCSTART-` is passed over. Raises InputError for
    a line of another width.
    """
    width = 0
    for start, sentence in _sentences(read):
        tokens = []
        for number, line in sentence:
            columns = line.split("\t") if "\t" in line else line.split()
            comment = line.startswith("# ") and (len(columns) != width or _SAYS.match(line))
            if columns[0] == "-DOCSTART-" or comment:
                continue
            width = width or len(columns)
            if len(columns) != width:
                raise InputError(f"{name}:{number}: {len(columns)} columns where the first token has {width}")
            tokens.append(columns)
        if tokens:
            yield LabelledRow(_by_number(tokens), f"{name}:{start}")


def from_conllu(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    """Sentences of CoNLL-U (universaldependencies.org/format.html), words only: no ranges, no empty nodes.

    A row has the ten columns as lists by their names (`form`, `lemma`, `upos` ...); `tokens` is `form`, `tags` `upos`.
    Raises InputError for a line without ten columns.
    """
    for start, sentence in _sentences(read):
        words = []
        for number, line in sentence:
            if line.startswith("#"):
                continue
            columns = line.split("\t")
            if len(columns) != len(CONLLU):
                raise InputError(f"{name}:{number}: {len(columns)} columns; CoNLL-U has {len(CONLLU)}, parted by tabs")
            if columns[0].isdigit():
                words.append(columns)
        if words:
            fields = {name: [word[at] for word in words] for at, name in enumerate(CONLLU)}
            yield LabelledRow({"tokens": fields["form"], "tags": fields["upos"], **fields}, f"{name}:{start}")


def _sentences(read: Iterator[str]) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """The number of a sentence's first line, and its lines with their numbers."""
    held: list[tuple[int, str]] = []
    for number, line in enumerate(read, 1):
        if line.strip():
            held.append((number, line))
        elif held:
            yield held[0][0], held
            held = []
    if held:
        yield held[0][0], held


def _by_number(tokens: list[list[str]]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*tokens, strict=True)]
    named = {"tokens": columns[0]} | ({"tags": columns[-1]} if len(columns) > 1 else {})
    return named | {str(number): column for number, column in enumerate(columns, 1)}


def from_json(read: Iterator[str], name: str) -> Iterator[LabelledRow]:
    """Rows of a JSON file: a list of objects, or `data` of an object; articles as in SQuAD become a row a question.

    (Rajpurkar et al., "SQuAD", 2016, and "Know what you don't know", 2018.) Raises InputError for anything else.
    """
    try:
        whole = parsed("\n".join(read))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON ({error})") from None
    items = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{name}: expected a list of objects, or one in `data`, as SQuAD has it")
    for number, item in enumerate(items, 1):
        if "paragraphs" in item:
            yield from _questions(item, f"{name}:article {number}")
        else:
            yield LabelledRow(item, f"{name}:row {number}")


def _questions(article: Mapping[str, Any], where: str) -> Iterator[LabelledRow]:
    if not isinstance(article["paragraphs"], list):
        raise InputError(f"{where}: expected a list of `paragraphs`, as SQuAD has it")
    for at, paragraph in enumerate(article["paragraphs"], 1):
        try:
            for asked in paragraph["qas"]:
                row = {"title": article.get("title", ""), "context": paragraph["context"], **asked}
                yield LabelledRow(row, f"{where}, question {asked.get('id', '')}")
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{where}, paragraph {at}: expected `context` and `qas`, as SQuAD has them") from None
