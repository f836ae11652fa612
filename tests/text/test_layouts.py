from __future__ import annotations

import textwrap

import pytest
from small_text import CHINESE, ENGLISH, RUSSIAN, as_lines, documents

from bertwright.text import layouts

SENTENCES = ENGLISH.replace("? ", "?\n").replace(". ", ".\n").split("\n")
VERSE = """Slow river, keep the colour of the rain
And carry it below the sleeping mill
Where no one walks, and where the weathervane
Turns once a year because it has the will

The heron knows the hour, and is still
The boatman knows the hour, and is late
And all the reeds that grow below the hill
Have nothing else to do than stand and wait""".split("\n")


def read(lines: list[str], layout: str = "auto") -> tuple[str, list[list[str]]]:
    found: list[str] = []
    texts = [document for document, _ in layouts.documents(iter(lines), layout, found)]
    return found[0], texts


def wrapped(text: str, width: int, **how: str) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, **how)


def test_sentences_on_lines_with_blank_lines_between_documents() -> None:
    corpus = documents(30)
    assert read(as_lines(corpus).split("\n")) == ("lines", corpus)


def test_several_blank_lines_and_spaces_make_one_border() -> None:
    assert read(["", " a b. ", "c.", "", "  ", "\t", "d.", "e.", ""]) == ("lines", [["a b.", "c."], ["d.", "e."]])


@pytest.mark.parametrize("between", [[], [""]])
def test_paragraphs_as_lines_are_one_document(between: list[str]) -> None:
    lines = [line for paragraph in [ENGLISH, RUSSIAN, ENGLISH[:90]] for line in [paragraph, *between]]
    assert read(lines) == ("prose", [[ENGLISH, RUSSIAN, ENGLISH[:90]]])


def test_sentences_on_lines_without_blank_lines_are_one_document() -> None:
    assert read(SENTENCES) == ("prose", [SENTENCES])


@pytest.mark.parametrize("width", [50, 72, 100])
@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN])
def test_wrapped_prose_is_joined_again(text: str, width: int) -> None:
    lines = [*wrapped(text, width), "", *wrapped(text, width), "", "", *wrapped(text, width)]
    assert read(lines) == ("wrapped", [[text, text, text]])


def test_wrapped_prose_whose_paragraphs_are_only_indented() -> None:
    lines = [line for _ in range(6) for line in wrapped(ENGLISH[:200], 60, initial_indent="    ")]
    assert read(lines) == ("wrapped", [[ENGLISH[:200].strip()] * 6])


def test_a_paragraph_that_is_indented_as_a_whole_stays_one() -> None:
    quote = wrapped(ENGLISH, 60, initial_indent="  ", subsequent_indent="  ")
    assert read([*wrapped(ENGLISH * 3, 60), "", *quote]) == ("wrapped", [[ENGLISH * 3, ENGLISH]])


def test_wrapped_chinese_is_joined_without_spaces() -> None:
    text = CHINESE * 4
    lines = [text[i : i + 30] for i in range(0, len(text), 30)]
    assert read(lines) == ("wrapped", [[text]])


def test_a_hyphen_at_the_end_of_a_line_joins() -> None:
    lines = ["a well-", "known river --", "and a bank"]
    assert read(lines, "wrapped") == ("wrapped", [["a well-known river -- and a bank"]])


def test_verse_and_names_are_not_wrapped_prose() -> None:
    assert read(VERSE)[0] == "lines"
    assert read(["Ada Long", "Bo Short", "Cy Middleton", "Di Ng", "Ed Brown", "Flo White", "", "x", "y"])[0] == "lines"


def test_sentences_of_about_one_length_are_not_wrapped_prose() -> None:
    lines = [f"The heron number {i} stood in the shallow water near us." for i in range(10, 40)]
    assert read(lines)[0] == "prose"


def test_the_layout_can_be_told() -> None:
    lines = ["one", "two", "", "three"]
    assert read(lines, "lines") == ("lines", [["one", "two"], ["three"]])
    assert read(lines, "prose") == ("prose", [["one", "two", "three"]])
    assert read(lines, "wrapped") == ("wrapped", [["one two", "three"]])


def test_a_long_document_is_cut_between_paragraphs() -> None:
    paragraph = "a" * 900_000
    found: list[str] = []
    cut = list(layouts.documents(iter([paragraph] * 10), "prose", found))
    assert [(len(document), was_cut) for document, was_cut in cut] == [(4, True), (4, True), (2, False)]


def test_a_text_on_a_single_line_is_cut_at_spaces() -> None:
    found: list[str] = []
    cut = list(layouts.documents(iter(["a word " * 1_000_000]), "auto", found))
    assert [len(document) for document, _ in cut] == [1, 1]
    assert " ".join(document[0] for document, _ in cut) == ("a word " * 1_000_000).strip()


def test_nothing_gives_nothing() -> None:
    assert read([]) == ("prose", [])
    assert read(["", "  "]) == ("prose", [])
