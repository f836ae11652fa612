"""The outline of a part of a store: how long each sentence is, and where documents end, in one byte a sentence.

    byte 0         the document ends
    byte 1..254    a sentence ends, with this many more tokens
    byte 255       254 more tokens of a sentence that goes on in the next byte

So a sentence of n >= 1 tokens is (n - 1) // 254 bytes of 255 and one byte of (n - 1) % 254 + 1, each length has
exactly one spelling, and 0 never occurs inside a sentence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_GOES_ON = 255
_FULL = 254


class Bounds(NamedTuple):
    """Where sentences and documents lie, counted in tokens and in sentences from the beginning of the outline."""

    tokens: np.ndarray
    """[sentences + 1] where each sentence begins, and the end of the last."""
    sentences: np.ndarray
    """[documents + 1] the first sentence of each document, and the end of the last."""


def encode(lengths: np.ndarray) -> bytes:
    """The outline of one document with sentences of `lengths` tokens, all of them at least 1. Raises ValueError."""
    lengths = np.asarray(lengths, np.int64)
    if len(lengths) and lengths.min() < 1:
        raise ValueError("a sentence in an outline has at least one token")
    whole, rest = np.divmod(lengths - 1, _FULL)
    outline = np.full(int(whole.sum()) + len(lengths) + 1, _GOES_ON, np.uint8)
    outline[np.cumsum(whole + 1) - 1] = rest + 1
    outline[-1] = 0
    return outline.tobytes()


def decode(outline: np.ndarray) -> Bounds:
    """The bounds of the documents of an outline, uint8, that begins and ends at a document's border."""
    ends_document = outline == 0
    ends_sentence = (outline != _GOES_ON) & ~ends_document
    reached = np.cumsum(np.minimum(outline, _FULL), dtype=np.int64)
    sentences_before = np.cumsum(ends_sentence, dtype=np.int64)
    return Bounds(
        tokens=np.concatenate(([0], reached[ends_sentence])),
        sentences=np.concatenate(([0], sentences_before[ends_document])),
    )
