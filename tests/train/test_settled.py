"""What Python's collector of cycles leaves alone while steps are made."""

from __future__ import annotations

import gc

from bertwright.train.settled import settled


def test_what_was_there_is_left_alone_and_what_comes_is_collected() -> None:
    class Ring:
        alive = 0

        def __init__(self) -> None:
            self.self = self
            Ring.alive += 1

        def __del__(self) -> None:
            Ring.alive -= 1

    before = Ring()
    with settled():
        del before
        Ring()
        gc.collect()
        assert Ring.alive == 1
    gc.collect()
    assert Ring.alive == 0
