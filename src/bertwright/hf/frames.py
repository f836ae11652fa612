"""What a tokenizer puts around a text and around a pair of texts, found by looking at what it does to one."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError


class Frame(NamedTuple):
    """The special tokens around one or two segments, and the segment number of every part."""

    special: tuple[np.ndarray, ...]
    """Ids before the first segment, after it, and after the second where there are two."""
    types: tuple[int, ...]
    """Of the special tokens and the segments in turn."""

    @property
    def size(self) -> int:
        """How many special tokens there are."""
        return sum(map(len, self.special))

    def around(self, *segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The segments with the special tokens, and the segment number of each token: both [n], int64."""
        parts = [self.special[0]]
        for segment, after in zip(segments, self.special[1:], strict=True):
            parts += [segment, after]
        return np.concatenate(parts).astype(np.int64), np.repeat(self.types, [len(part) for part in parts])


def frame_of(tokenizer: Any, segments: int) -> Frame:
    """The frame for 1 or 2 segments.

    A tokenizer that adds nothing, and names a cls and a sep token, is one whose post-processor was left out: its frame
    is BERT's. Raises InputError when the tokenizer finds no token in any text.
    """
    probe, plain = _probe(tokenizer)
    found = tokenizer(*[probe] * segments, return_token_type_ids=True, verbose=False)
    ids, types = list(found["input_ids"]), list(found.get("token_type_ids") or [0] * len(found["input_ids"]))
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    if len(ids) == segments * len(plain) and cls is not None and sep is not None:
        ids = [cls, *[*plain, sep] * segments]
        types = [0, *chain.from_iterable([number] * (len(plain) + 1) for number in range(segments))]
    special: list[np.ndarray] = []
    kinds: list[int] = []
    place = 0
    for _ in range(segments):
        at = next(at for at in range(place, len(ids)) if ids[at : at + len(plain)] == plain)
        special.append(np.array(ids[place:at], np.int64))
        kinds += [types[max(place, at - 1)], types[at]]
        place = at + len(plain)
    special.append(np.array(ids[place:], np.int64))
    return Frame(tuple(special), (*kinds, types[-1]))


def _probe(tokenizer: Any) -> tuple[str, list[int]]:
    """A text in which the tokenizer finds tokens, and these."""
    for text in chain(("a",), tokenizer.get_vocab()):
        plain = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if plain and not set(plain) & (set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}):
            return text, plain
    raise InputError("the tokenizer finds no token in any text: its vocabulary holds special tokens alone")
