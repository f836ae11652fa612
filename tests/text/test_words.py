"""Where words begin: the same for WordPiece, BPE and Unigram, in scripts with spaces and without."""

from __future__ import annotations

import json
import re
from functools import cache

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_text import CHINESE, ENGLISH, JAPANESE, RUSSIAN, THAI
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from bertwright.text.tokenizer import Tokenizer
from bertwright.text.wordpiece import train_tokenizer

FIXED = settings(max_examples=60, deadline=None, derandomize=True)
WORDS = [*ENGLISH.split(), *RUSSIAN.split(), "2024", "don't", "3.14", "(and)", "«так»", "...", "ёж2", "0567 89"]
TEXT = [ENGLISH, RUSSIAN, CHINESE, JAPANESE, THAI, " ".join(WORDS[-8:] * 2)]
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
ROLES = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
MAKES = ("WordPiece", "byte-level BPE", "byte-level BPE of bytes", "BPE with spaces", "BPE with ends", "Unigram")
every_make = pytest.mark.parametrize("make", MAKES)
PIECES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@cache
def tokenizer(make: str) -> Tokenizer:
    if make == "WordPiece":
        return train_tokenizer([TEXT], vocab_size=512)
    common = {"special_tokens": SPECIAL, "show_progress": False}
    if make.startswith("byte-level"):
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        size = 262 if make.endswith("bytes") else 600
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters, **common)
    elif make == "BPE with spaces":
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=500, **common)
    elif make == "BPE with ends":
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.BpeTrainer(vocab_size=500, end_of_word_suffix="</w>", **common)
    else:
        backend = tokenizers.Tokenizer(models.Unigram())
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=500, unk_token="<unk>", **common)
    backend.train_from_iterator([piece for text in TEXT for piece in (text, *text.split())], trainer)
    return Tokenizer(backend, {f"{role}_token": name for role, name in ROLES.items()})


def begun(make: str, text: str) -> np.ndarray:
    own = tokenizer(make)
    return own.vocabulary.begins_word(own.encode(text))


def by_characters(make: str, text: str) -> list[bool]:
    """Which tokens begin a word, from the tokenizer's own offsets and the words of the text."""
    word_of: dict[int, int] = {}
    for number, found in enumerate(re.finditer(r"\w+|[^\w\s]", text)):
        word_of |= dict.fromkeys(range(*found.span()), number)
    encoding = tokenizers.Tokenizer.from_str(tokenizer(make)._content).encode(text, add_special_tokens=False)
    expected: list[bool] = []
    place, space = -1, False
    for token, (begin, _) in zip(encoding.tokens, encoding.offsets, strict=True):
        begin += text[begin] == " " and token not in ("▁", "Ġ")
        new = begin != place and word_of.get(begin, -1) != word_of.get(begin - 1)
        expected.append(not space and (new or not expected))
        place, space = begin, token in ("▁", "Ġ")
    return expected


@every_make
@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN])
def test_words_of_scripts_with_spaces(make: str, text: str) -> None:
    assert begun(make, text).tolist() == by_characters(make, text)


@every_make
@FIXED
@given(PIECES)
def test_words_of_any_text_with_spaces(make: str, text: str) -> None:
    assert begun(make, text).tolist() == by_characters(make, text)


@every_make
@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI])
def test_words_of_scripts_without_spaces(make: str, text: str) -> None:
    """A run of them is neither one word, nor is a sign cut from its marks, nor a character in two."""
    own = tokenizer(make)
    ids = own.encode(text)
    begins = begun(make, text)
    backend = tokenizers.Tokenizer.from_str(own._content)
    offsets = backend.encode(text, add_special_tokens=False).offsets
    assert begins[0]
    known = ids != own.vocabulary.unk
    assert begins[known].mean() > (0.3 if make.startswith("byte-level") else 0.6)
    for (begin, _), (before, _), starts, known_one in zip(offsets[1:], offsets, begins[1:], known[1:], strict=False):
        if starts and known_one:
            assert begin > before
            assert not re.match("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]", text[begin])


def test_each_chinese_character_is_a_word_even_in_bytes() -> None:
    text = "清晨的河边很安静"
    assert begun("WordPiece", text).tolist() == [True] * 8
    assert begun("byte-level BPE of bytes", text).tolist() == [True, False, False] * 8


def test_katakana_goes_together() -> None:
    assert begun("byte-level BPE of bytes", "コーヒー").tolist() == [True] + [False] * 11


def test_special_tokens_and_what_follows_them_begin() -> None:
    for make in MAKES:
        own = tokenizer(make)
        vocabulary = own.vocabulary
        inside = own.encode("harbour notebooks")
        ids = np.concatenate([[special, *inside[1:2]] for special in vocabulary.special])
        assert vocabulary.begins_word(ids).all()


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["▁", "Пет", "лю", "ра", "▁и"], [True, False, False, False, True]),
        (["▁a", "<0xD0>", "<0x96>", "b", "▁", "▁c"], [True, False, False, False, True, True]),
        (["▁न", "ि", "य", "म", "।"], [True, False, False, False, True]),
        (["▁中", "▁", "国", "人"], [True, True, False, True]),
        (["▁x", "_", "1", "-", "y"], [True, False, False, True, True]),
        (["▁e", "\u0301", "t", "é"], [True, False, False, False]),
    ],
)
def test_entries_one_by_one(entries: list[str], expected: list[bool]) -> None:
    names = [*SPECIAL, *dict.fromkeys(entries)]
    backend = tokenizers.Tokenizer(models.Unigram([(name, -1.0) for name in names], unk_id=1, byte_fallback=True))
    vocabulary = Tokenizer(backend, {f"{role}_token": name for role, name in ROLES.items()}).vocabulary
    ids = np.array([names.index(entry) for entry in entries])
    assert vocabulary.begins_word(ids).tolist() == expected


def test_a_vocabulary_is_the_same_whatever_asks_for_words() -> None:
    own = tokenizer("WordPiece")
    again = Tokenizer(tokenizers.Tokenizer.from_str(own._content), json.loads("{}"))
    assert own.vocabulary == again.vocabulary
    assert hash(own.vocabulary) == hash(again.vocabulary)
