"""How the lines of a .txt file make documents of paragraphs.

Three layouts are in use and none of them is marked, so the file's own lines decide (over its first 4 Mi characters):

    wrapped   prose broken at a fixed width (Project Gutenberg). A line ends because the next word had no room:
              for at least 60 % of the lines that another line follows, the line, a space and the next line's first word
              together are longer than the width W (the 90th percentile of their lengths, at least 40 columns); fewer
              than half of these lines end a sentence, and fewer than two thirds are followed by a capital letter. Blank
              and indented lines begin a paragraph, whose lines are joined; the file is one document.
    lines     BERT's format: one sentence or paragraph a line, blank lines between documents. Not wrapped, and more than
              half of the blocks between blank lines have several lines.
    prose     everything else: a line is a paragraph, the file is one document.

So names, verses (capitals) and sentences on lines of their own (no common width, stops) do not pass for wrapped prose.
A text without a blank line is prose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from .sentences import pieces

LAYOUTS = ("auto", "lines", "prose", "wrapped")
LONGEST = 4_000_000
"""Characters: a longer document (no novel is) is cut, between paragraphs if it can be, which bounds memory."""
_SAMPLE = 4 << 20
_NARROWEST = 40
_SENTENCE_END = re.compile(r"""[.!?…。！？।]["'”’»)\]」』]*$""")

Document = list[str]


def detect(lines: Iterable[str]) -> str:
    """The layout of some lines: "wrapped", "lines" or "prose"."""
    lengths: Counter[int] = Counter()
    needs: Counter[int] = Counter()
    ended = capitals = 0
    sizes: Counter[int] = Counter()
    for block in _blocks(lines):
        sizes[len(block)] += 1
        for line, follower in pairwise(block):
            if _begins_paragraph(follower, line):
                continue
            lengths[_columns(line)] += 1
            needs[_columns(line) + _first_word(follower)] += 1
            ended += bool(_SENTENCE_END.search(line))
            capitals += follower.lstrip()[0].isupper()
    if _is_wrapped(lengths, needs) and 2 * ended < lengths.total() and 3 * capitals < 2 * lengths.total():
        return "wrapped"
    several = sizes.total() - sizes[1]
    return "lines" if sizes.total() > 1 and several > sizes[1] else "prose"


def _is_wrapped(lengths: Counter[int], needs: Counter[int]) -> bool:
    pairs = lengths.total()
    if pairs < 4:
        return False
    width = sorted(lengths.elements())[int(0.9 * (pairs - 1))]
    full = sum(count for need, count in needs.items() if need > width)
    return width >= _NARROWEST and full >= 0.6 * pairs


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in lines:
        if stripped := line.rstrip():
            block.append(stripped)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _begins_paragraph(line: str, before: str) -> bool:
    return line[0].isspace() and not before[0].isspace()


def _columns(line: str) -> int:
    return len(line) * (2 if _without_spaces(line[-1]) else 1)


def _first_word(line: str) -> int:
    """Columns that the line's first word and the space before it would have taken."""
    word = line.split(None, 1)[0]
    return 2 if _without_spaces(word[0]) else 1 + len(word)


def _without_spaces(character: str) -> bool:
    return "\u2e80" <= character <= "\ua4cf" or "\uf900" <= character <= "\uffef" or character >= "\U00020000"


def documents(lines: Iterator[str], layout: str, found: list[str]) -> Iterator[tuple[Document, bool]]:
    """Documents of paragraphs, each with whether it was cut for its length; the layout used is appended to `found`.

    `layout` is one of LAYOUTS. Memory holds the sample or one document.
    """
    if layout == "auto":
        sample = list(_first(lines, _SAMPLE))
        layout = detect(sample)
        lines = chain(sample, lines)
    found.append(layout)
    return _bounded(_PARAGRAPHS[layout](lines))


def _first(lines: Iterator[str], characters: int) -> Iterator[str]:
    for line in lines:
        yield line
        characters -= len(line) + 1
        if characters <= 0:
            return


def _bounded(paragraphs: Iterator[str | None]) -> Iterator[tuple[Document, bool]]:
    document: Document = []
    length = 0
    for paragraph in paragraphs:
        if paragraph is None:
            if document:
                yield document, False
            document, length = [], 0
            continue
        for piece in pieces(paragraph, LONGEST):
            if document and length + len(piece) > LONGEST:
                yield document, True
                document, length = [], 0
            document.append(piece)
            length += len(piece)
    if document:
        yield document, False


def _from_lines(lines: Iterator[str]) -> Iterator[str | None]:
    for line in lines:
        yield line.strip() or None


def _from_prose(lines: Iterator[str]) -> Iterator[str | None]:
    return (stripped for line in lines if (stripped := line.strip()))


def _from_wrapped(lines: Iterator[str]) -> Iterator[str | None]:
    paragraph: list[str] = []
    indented = False
    for line in lines:
        stripped = line.strip()
        begins = bool(stripped) and line[0].isspace() and not indented
        if paragraph and (not stripped or begins):
            yield _joined(paragraph)
            paragraph = []
        if stripped:
            paragraph.append(stripped)
        indented = bool(stripped) and line[0].isspace()
    if paragraph:
        yield _joined(paragraph)


def _joined(lines: list[str]) -> str:
    """Lines of a paragraph as one: no space after a hyphen between letters, nor between characters that need none."""
    parts = [lines[0]]
    for before, line in pairwise(lines):
        hyphenated = before[-1] == "-" and len(before) > 1 and before[-2].isalnum()
        together = hyphenated or (_without_spaces(before[-1]) and _without_spaces(line[0]))
        parts.append(line if together else " " + line)
    return "".join(parts)


_PARAGRAPHS = {"lines": _from_lines, "prose": _from_prose, "wrapped": _from_wrapped}
