"""Any tokenizer of `transformers` as the package sees one: ids, a fingerprint, a vocabulary that knows its words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..flow import Vocabulary, every_token
from ..text.tokenizer import ROLES, Tokenizer
from ..text.words import Words

_STATE = ("truncation", "padding")
"""What a call leaves behind in the JSON of a tokenizer, and what does not decide its ids."""


def as_transformers(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The tokenizer itself, or ours as `transformers` has it. Raises InputError for anything else."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.hf()
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    kind = f"{type(tokenizer).__module__.split('.')[0]}.{type(tokenizer).__name__}"
    wrap = "; wrap it: PreTrainedTokenizerFast(tokenizer_object=..., mask_token='[MASK]', ...)"
    raise InputError(
        f"the tokenizer is a {kind}; accepted is one of transformers or bertwright"
        f"{wrap if kind.startswith('tokenizers.') else ''}"
    )


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text [n], int32, without special tokens around them."""
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return [np.array(ids, np.int32) for ids in found["input_ids"]]


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 over what decides how the tokenizer encodes text."""
    if tokenizer.is_fast:
        content = {name: value for name, value in _content(tokenizer).items() if name not in _STATE}
    else:
        settings = {
            name: value
            for name, value in tokenizer.init_kwargs.items()
            if not name.endswith("_file") and name != "name_or_path"
        }
        content = {"kind": type(tokenizer).__name__, "entries": tokenizer.get_vocab(), "settings": settings}
    whole = [content, tokenizer.split_special_tokens]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """What hiding needs to know of the tokenizer; a special token that it lacks has the id -1."""
    entries: dict[str, int] = tokenizer.get_vocab()
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = added | set(tokenizer.all_special_ids)
    return Vocabulary(
        size=max(entries.values()) + 1,
        special=tuple(sorted(special)),
        begins_word=_begins_word(tokenizer, entries, special),
        **{role: -1 if number is None else number for role, number in ids.items()},
    )


def _begins_word(
    tokenizer: PreTrainedTokenizerBase, entries: dict[str, int], special: set[int]
) -> Callable[[np.ndarray], np.ndarray]:
    content = _content(tokenizer) if tokenizer.is_fast else _guessed_content(entries)
    if content is None or not special:
        return every_token
    words = lru_cache(maxsize=1)(lambda: Words(entries, special, content))
    size, border = max(entries.values()) + 1, min(special)
    # An id that the tokenizer does not have is a word of its own, as a special token is.
    return lambda ids: words()(np.where(ids < size, ids, border))


def _content(tokenizer: Any) -> dict[str, Any]:
    return json.loads(tokenizer.backend_tokenizer.to_str())


def _guessed_content(entries: dict[str, int]) -> dict[str, Any] | None:
    """How a tokenizer written in Python marks words in its entries; None where no mark is known."""
    if any(entry.startswith("##") for entry in entries):
        return {"model": {"type": "WordPiece", "continuing_subword_prefix": "##"}}
    if any(entry.endswith("</w>") for entry in entries):
        return {"model": {"type": "BPE", "end_of_word_suffix": "</w>"}}
    if any(entry.startswith("\u2581") for entry in entries):
        return {"model": {"type": "Unigram"}}
    return None
