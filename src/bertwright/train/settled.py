"""Objects that stay are not gone over again while steps are made, or rows answered."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled() -> Iterator[None]:
    """While it lasts Python's collector of cycles leaves alone what was there before.

    That is half a million objects of torch and transformers, which take it a tenth of a second each time, as long as
    two steps of fine-tuning or hundreds of rows; neither leaves cycles behind. Afterwards they are collected as ever.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
