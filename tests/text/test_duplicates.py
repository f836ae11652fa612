from __future__ import annotations

import numpy as np
from small_text import CHINESE, ENGLISH, RUSSIAN, documents

from bertwright.text import duplicates
from bertwright.text.duplicates import signature


def text(seed: int, words: int = 400) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(f"{number:x}" for number in rng.integers(16**6, size=words).tolist())


def test_a_signature_is_a_fixed_number() -> None:
    assert signature("The heron stood in the shallow water.") == signature("The heron stood in the shallow water.")
    assert 0 <= signature(ENGLISH) < 2**64
    assert len({signature(x) for x in (ENGLISH, RUSSIAN, CHINESE, "", "a", "b", "short one", "short two")}) == 8


def test_case_and_white_space_do_not_matter() -> None:
    assert signature(ENGLISH) == signature(ENGLISH.upper().replace(" ", "\n \t"))
    assert signature(RUSSIAN) == signature("  " + RUSSIAN.upper() + "\n")


def test_different_documents_have_different_signatures() -> None:
    texts = [text(seed) for seed in range(200)]
    assert len({signature(x) for x in texts}) == 200


def test_near_duplicates_share_it_as_often_as_they_share_windows() -> None:
    shared = []
    for seed in range(100):
        words = text(seed).split()
        words[200] = "changed"
        shared.append(signature(text(seed)) == signature(" ".join(words)))
    assert np.mean(shared) > 0.95
    halves = [signature(text(seed) + " " + text(seed + 1000)) == signature(text(seed)) for seed in range(100)]
    assert 0.3 < np.mean(halves) < 0.7


def test_near_duplicates_in_chinese() -> None:
    long = "".join(chr(0x4E00 + i * 37 % 5000) for i in range(400))
    shared = [signature(long[:i] + "魚" + long[i + 1 :]) == signature(long) for i in range(0, 400, 10)]
    assert np.mean(shared) > 0.85


def test_long_texts_are_worked_through_in_parts(monkeypatch) -> None:
    texts = [" ".join(" ".join(document) for document in documents(40, source)) for source in (ENGLISH, RUSSIAN)]
    whole = [signature(x) for x in [*texts, CHINESE * 9]]
    for size in (33, 100, 1000):
        monkeypatch.setattr(duplicates, "_CHUNK", size)
        assert [signature(x) for x in [*texts, CHINESE * 9]] == whole
