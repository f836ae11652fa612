"""Entities are counted as the CoNLL script does, for every way of spelling tags."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.tasks.entities import Entity, completed, entities, matched, of_entities

TAGS = st.lists(st.sampled_from("O B-X I-X E-X S-X B-Y I-Y E-Y S-Y B I E S".split()), max_size=12)


def conlleval(tags: list[str]) -> set[tuple[str, int, int]]:
    """The script's own rules of where a chunk ends and begins, written out."""
    found, start = set(), 0
    split = [("O", ""), *((tag[0], tag[2:]) for tag in tags), ("O", "")]
    inside = False
    for at in range(1, len(split)):
        (before, old), (now, new) = split[at - 1], split[at]
        ends = before in "ES" or (before in "BI" and now in "BSO") or (before != "O" and old != new)
        begins = now in "BS" or (before in "ESO" and now in "EI") or (now != "O" and old != new)
        if inside and ends:
            found.add((old, start, at - 1))
            inside = False
        if begins:
            start, inside = at - 1, True
    return found


@settings(max_examples=500, deadline=None, derandomize=True)
@given(TAGS, TAGS)
def test_entities_are_the_scripts(one: list[str], other: list[str]) -> None:
    ours, theirs = {tuple(e) for e in entities(one)}, {tuple(e) for e in entities(other)}
    assert ours == conlleval(one)
    assert matched([(one, other), (one, one)]) == (
        2 * len(ours),
        len(theirs) + len(ours),
        len(ours & theirs) + len(ours),
    )


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O", [("PER", 1, 3)]),
        ("I-PER I-PER B-PER O I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("B-new-york I-new-york", [("new-york", 0, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_of_a_sentence(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert list(entities(tags.split())) == [Entity(*one) for one in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("B-X I-X L-X O U-Y L-X", "B-X I-X E-X O S-Y E-X"),
        ("U-X B-X L-X L-X U-Y", "S-X B-X E-X E-X S-Y"),
        ("B L O U", "B E O S"),
    ],
)
def test_last_and_only_tokens_have_two_names(one: str, other: str) -> None:
    assert [*entities(one.split())] == [*entities(other.split())]
    assert of_entities(one.split())


def test_entities_without_a_kind() -> None:
    assert [*entities("I B I O B I I B".split())] == [Entity("", *at) for at in ((0, 1), (1, 3), (4, 7), (7, 8))]
    assert of_entities({"B", "I", "O"})
    assert completed({"O", "B", "L-X"}) == {"O", "B", "I", "B-X", "I-X", "L-X"}


def test_plain_tags_are_none_of_entities() -> None:
    assert of_entities({"O", "B-X"})
    for plain in ({"NOUN", "VERB"}, {"O"}, {"B-X", "NOUN"}, set(), {"B-", "O"}, {"B", "N"}):
        assert not of_entities(plain)
        assert completed(plain) == plain
    assert completed({"O", "B-X", "I-Y"}) == {"O", "B-X", "I-X", "B-Y", "I-Y"}
