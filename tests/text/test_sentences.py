from __future__ import annotations

import pytest
from small_text import CHINESE, ENGLISH, RUSSIAN

from bertwright.errors import InputError
from bertwright.text.sentences import LONGEST, checked_language, detect_language, pieces, sentences


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (RUSSIAN, "ru"),
        (CHINESE, "zh"),
        ("ここは静かな川です。魚がいます。", "ja"),
        ("강가는 조용했다. 안개가 걷혔다.", "ko"),
        ("كان النهر هادئا في الصباح.", "ar"),
        ("नदी शांत थी। कोहरा छँट गया।", "hi"),
        ("Το ποτάμι ήταν ήσυχο.", "el"),
        ("แม่น้ำเงียบสงบ", "th"),
        ("הנהר היה שקט", "he"),
        (f"{RUSSIAN} and some English words {RUSSIAN}", "ru"),
        ("12345 !?", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_that_of_the_script_of_most_letters(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_english_sentences_know_abbreviations() -> None:
    found = sentences(ENGLISH, "en")
    assert found[:2] == ["The heron stood in the shallow water and waited.", "Nothing moved under the willows."]
    assert found[2].startswith("Dr. Amsel wrote")


def test_russian_and_chinese_sentences() -> None:
    assert sentences(RUSSIAN, "ru")[0] == "Ёж вылез из-под ёлки и понюхал воздух."
    assert sentences(CHINESE, "zh")[:2] == ["清晨的河边很安静。", "老人坐在石头上钓鱼。"]


def test_a_line_that_is_a_sentence_stays_one_and_a_line_end_is_a_border() -> None:
    assert sentences("One line\nanother  line,\twith  spaces\n\n third", "en") == [
        "One line",
        "another line, with spaces",
        "third",
    ]


def test_nothing_is_lost() -> None:
    for text, language in ((ENGLISH, "en"), (RUSSIAN, "ru"), (CHINESE, "zh")):
        assert "".join("".join(sentences(text, language)).split()) == "".join(text.split())


def test_what_has_no_stop_is_cut_at_spaces() -> None:
    text = "word " * 500_000
    found = sentences(text, "en")
    assert max(map(len, found)) <= LONGEST
    assert " ".join(found) == text.strip()


def test_pieces() -> None:
    assert list(pieces("aa bb cc", 5)) == ["aa bb", "cc"]
    assert list(pieces("aaaaaaa", 3)) == ["aaa", "aaa", "a"]
    assert list(pieces("", 3)) == []


@pytest.mark.parametrize("code", ["english", "", "e", "en_US", "zh-"])
def test_what_is_not_a_language_code_is_refused(code: str) -> None:
    with pytest.raises(InputError, match="not a language code"):
        checked_language(code)


def test_language_codes() -> None:
    assert [checked_language(code) for code in ("en", "pt-BR", "zh-Hans")] == ["en", "pt-br", "zh-hans"]
