"""Paragraphs to sentences, with `sentencex`, which knows the full stops and abbreviations of some 300 languages.

The language is given by its code (`en`, `pt`, `zh` ...) or taken from the script of most letters of a sample: Latin
stands for `en`, Cyrillic for `ru`, Arabic for `ar`; kana makes Han characters Japanese. A text that is read as another
language of its script loses only that language's abbreviations ("Dr.", "usw.").
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from ..errors import InputError

LONGEST = 10_000
"""Characters: what goes on for longer without a stop is cut at a space, for no encoder reads so far."""
_LONGEST_PARAGRAPH = 1_000_000
_CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)
_RANGES = (
    (0x0041, 0x024F, "en"),
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru"),
    (0x0531, 0x058F, "hy"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0980, 0x09FF, "bn"),
    (0x0A00, 0x0A7F, "pa"),
    (0x0A80, 0x0AFF, "gu"),
    (0x0B80, 0x0BFF, "ta"),
    (0x0C00, 0x0C7F, "te"),
    (0x0C80, 0x0CFF, "kn"),
    (0x0D00, 0x0D7F, "ml"),
    (0x0D80, 0x0DFF, "si"),
    (0x0E00, 0x0E7F, "th"),
    (0x0E80, 0x0EFF, "lo"),
    (0x1000, 0x109F, "my"),
    (0x10A0, 0x10FF, "ka"),
    (0x1100, 0x11FF, "ko"),
    (0x1200, 0x137F, "am"),
    (0x1780, 0x17FF, "km"),
    (0x3040, 0x30FF, "ja"),
    (0x3400, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
    (0xF900, 0xFAFF, "zh"),
    (0x20000, 0x3FFFF, "zh"),
)
_FIRSTS = [first for first, _, _ in _RANGES]
WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "km"})
"""Languages whose words are not separated by spaces."""


def detect_language(sample: str) -> str:
    """The code of the language that the script of most letters of `sample` stands for; "en" without letters."""
    codes, counts = np.unique(np.frombuffer(sample.encode("utf-32-le", "replace"), np.uint32), return_counts=True)
    letters: dict[str, int] = {}
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        at = bisect_right(_FIRSTS, code) - 1
        if at >= 0 and code <= _RANGES[at][1] and chr(code).isalpha():
            language = _RANGES[at][2]
            letters[language] = letters.get(language, 0) + count
    if letters.get("ja", 0) * 10 > letters.get("zh", 0):
        letters["ja"] = letters.get("ja", 0) + letters.pop("zh", 0)
    return max(letters, key=lambda language: letters[language], default="en")


def checked_language(code: str) -> str:
    """The code itself. Raises InputError for what is not shaped like one."""
    if not _CODE.fullmatch(code):
        raise InputError(f"{code!r} is not a language code; give one such as en, ru, zh or pt-br")
    return code.lower()


def sentences(text: str, language: str) -> list[str]:
    """The sentences of a text of paragraphs, one after another, each with single spaces and no line end in it."""
    from sentencex import segment  # pyright: ignore[reportAttributeAccessIssue]

    return [
        piece
        for paragraph in text.splitlines()
        for stretch in pieces(paragraph, _LONGEST_PARAGRAPH)
        for sentence in segment(language, stretch)
        for piece in pieces(" ".join(sentence.split()), LONGEST)
    ]


def pieces(text: str, longest: int) -> Iterator[str]:
    """`text` in pieces of at most `longest` characters, cut at spaces where there are any; none for an empty text."""
    begin = 0
    while len(text) - begin > longest:
        space = text.rfind(" ", begin, begin + longest + 1)
        end = space if space > begin else begin + longest
        yield text[begin:end]
        begin = end + (end == space)
    if begin < len(text):
        yield text[begin:]
