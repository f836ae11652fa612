"""Numbers of things, as people read them."""

from __future__ import annotations

from bertwright.amounts import amount, were


def test_one_is_told_from_several() -> None:
    assert [amount(number, "row") for number in (0, 1, 1021)] == ["0 rows", "1 row", "1,021 rows"]
    assert [amount(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]
    assert [were(number) for number in (0, 1, 2)] == ["were", "was", "were"]
