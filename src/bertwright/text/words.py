"""Which tokens begin a word, for any tokenizer and script, from the vocabulary's entries alone.

A word begins where an entry says so (no `##` in WordPiece; a space, as `Ġ` or `▁`, in BPE and Unigram), and elsewhere
where Unicode's default word boundaries (UAX #29) have one between the last character before and the first one after:
letters, marks and digits go together, katakana goes together, every other sign stands by itself. The rules that look
two characters ahead are left out: an apostrophe or a decimal point is a word of its own, as it is to WordPiece anyway.

Chinese characters, hiragana, Thai, Lao, Khmer, Burmese and the like are written without spaces, and to find their words
takes a dictionary. UAX #29 has a boundary at each of their characters; so there a token, with the marks that belong to
its last character, is a word.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np

_ALONE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303c"
    "\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff]"
)
_KATAKANA = re.compile("[\u3031-\u3035\u309b\u309c\u30a0-\u30ff\u31f0-\u31ff\u32d0-\u32fe\u3300-\u3357\uff66-\uff9f]")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_METASPACE = "\u2581"


class Kind(IntEnum):
    """What a character is to a word; the last three are of entries rather than of characters."""

    SIGN = 0
    LETTER = 1
    """A digit too: they join alike."""
    KATAKANA = 2
    CONNECTOR = 3
    """The underscore and its like."""
    ALONE = 4
    """A letter of a script without spaces."""
    MARK = 5
    """Belongs to the character before."""
    SPACE = 6
    """A space that a word goes on after, as a lone `▁`."""
    BORDER = 7
    """A special token."""


def _joins() -> np.ndarray:
    """[before, after] bool: whether a word goes on between two characters."""
    table = np.zeros((len(Kind), len(Kind)), bool)
    table[:, Kind.MARK] = True
    table[Kind.SPACE, :] = True
    for kind in (Kind.LETTER, Kind.KATAKANA, Kind.CONNECTOR):
        table[kind, kind] = True
        table[Kind.CONNECTOR, kind] = table[kind, Kind.CONNECTOR] = True
    table[Kind.BORDER, :] = table[:, Kind.BORDER] = False
    return table


_JOINS = _joins()


@final
class Words:
    """`words(ids)` says at which tokens a word begins; `entries` are a tokenizer's, `content` is its JSON."""

    def __init__(self, entries: Mapping[str, int], special: Collection[int], content: Mapping[str, Any]) -> None:
        size = max(entries.values()) + 1
        self._begins = np.ones(size, bool)
        self._first, self._last = np.full(size, Kind.BORDER, np.int8), np.full(size, Kind.BORDER, np.int8)
        self._split = np.zeros(size, bool)
        self._parts: dict[int, _Parts] = {}
        read = _reader(content)
        for entry, number in entries.items():
            if number in special:
                continue
            text, self._begins[number], ends = read(entry)
            parts = _parts(text)
            self._first[number], self._last[number] = _kinds(parts.characters) if text else (Kind.SPACE, Kind.SPACE)
            if ends:
                self._last[number] = Kind.BORDER
            if parts.rest:
                self._first[number] = Kind.MARK
            if parts.rest or parts.begun:
                self._parts[number] = parts
            self._split[number] = bool(parts.begun)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """[N] ids -> [N] bool."""
        first, last = self._first[ids], self._last[ids]
        for at in np.flatnonzero(self._split[ids]).tolist():
            self._put_together(ids, at, first, last)
        goes_on = last == Kind.MARK
        if goes_on.any():
            # An entry of marks alone, or of the rest of a character, ends as the one before it does.
            last = last[np.maximum.accumulate(np.where(goes_on, 0, np.arange(len(ids))))]
        before = np.concatenate(([Kind.BORDER], last[:-1]))
        return self._begins[ids] | ~_JOINS[before, first]

    def _put_together(self, ids: np.ndarray, at: int, first: np.ndarray, last: np.ndarray) -> None:
        """Sets what entry `at` begins and ends with, whose last character goes on in the entries after it."""
        mine = self._parts[int(ids[at])]
        character = mine.begun
        for following in ids[at + 1 : at + 4].tolist():
            parts = self._parts.get(following)
            if parts is None or not parts.rest:
                break
            character += parts.rest
            if parts.characters or parts.begun:
                break
        kind = _kind_of_bytes(character)
        if kind != Kind.MARK:
            last[at] = kind
        if not mine.characters and not mine.rest:
            first[at] = kind


class _Parts(NamedTuple):
    """An entry's UTF-8: the rest of a character that another began, whole characters, the beginning of one."""

    rest: bytes
    characters: str
    begun: bytes


Reader = Callable[[str], tuple[bytes, bool, bool]]
"""An entry's UTF-8 without what the tokenizer adds to it; whether it says that a word begins, and that one ends."""


def _reader(content: Mapping[str, Any]) -> Reader:
    """How the entries of a tokenizer are read."""
    model = content["model"]
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    if model["type"] in ("WordPiece", "WordLevel") or prefix:
        return lambda entry: (
            (entry.removeprefix(prefix).encode(), False, False)
            if prefix and entry.startswith(prefix)
            else (entry.encode(), True, False)
        )
    if suffix:
        return lambda entry: (entry.removesuffix(suffix).encode(), False, entry.endswith(suffix))
    parts = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    letters = _byte_letters() if '"ByteLevel"' in parts else {}

    def spaced(entry: str) -> tuple[bytes, bool, bool]:
        if byte := _BYTE.fullmatch(entry):
            text = bytes([int(byte[1], 16)])
        elif letters and all(letter in letters for letter in entry):
            text = bytes(letters[letter] for letter in entry)
        else:
            text = entry.replace(_METASPACE, " ").encode()
        return text.lstrip(b" "), text.startswith(b" "), False

    return spaced


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level BPE (Radford et al., 2019): its own where it prints."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + number): byte for number, byte in enumerate(others)}


def _parts(text: bytes) -> _Parts:
    inside = next((at for at, byte in enumerate(text) if not 0x80 <= byte < 0xC0), len(text))
    rest, whole = text[:inside], text[inside:]
    begun = next((n for n in (1, 2, 3) if n <= len(whole) and whole[-n] >= (0, 0xC0, 0xE0, 0xF0)[n]), 0)
    end = len(whole) - begun
    return _Parts(rest, whole[:end].decode("utf-8", "replace"), whole[end:])


def _kinds(characters: str) -> tuple[Kind, Kind]:
    """What characters begin and end with; an end of MARK is to be taken from the entry before."""
    kinds = [_kind(character) for character in characters] or [Kind.MARK]
    return kinds[0], next((kind for kind in reversed(kinds) if kind != Kind.MARK), Kind.MARK)


def _kind(character: str) -> Kind:
    category = unicodedata.category(character)
    if category[0] == "M" or (category == "Cf" and character != "\u200b"):
        return Kind.MARK
    if category == "Pc":
        return Kind.CONNECTOR
    if category[0] in "LN" and category != "Nd" and _ALONE.match(character):
        return Kind.ALONE
    if category[0] in "LS" and _KATAKANA.match(character):
        return Kind.KATAKANA
    return Kind.LETTER if category[0] == "L" or category in ("Nd", "Nl") else Kind.SIGN


@lru_cache(maxsize=65_536)
def _kind_of_bytes(character: bytes) -> Kind:
    return _kind(character.decode("utf-8", "replace")[0])
