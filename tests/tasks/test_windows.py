"""Windows cover a text, each token belongs to one, and has text on both sides there."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bertwright.tasks.windows import windows

SIZES = st.integers(1, 40).flatmap(lambda room: st.tuples(st.just(room), st.integers(0, room - 1)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 200), SIZES)
def test_windows(tokens: int, size: tuple[int, int]) -> None:
    room, overlap = size
    found = list(windows(tokens, room, overlap))
    assert [token for w in found for token in range(w.mine, w.mine_end)] == list(range(tokens))
    assert (found[0].start, found[-1].end) == (0, tokens)
    for window in found:
        assert window.start <= window.mine <= window.mine_end <= window.end <= window.start + room
    for one, other in pairwise(found):
        assert one.end - other.start == overlap
        assert one.end - one.start == room
        assert one.end - one.mine_end == overlap // 2
        assert other.mine - other.start == overlap - overlap // 2
    assert len(found) == 1 or tokens > room
