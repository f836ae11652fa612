"""The collators for language modelling: batches are padded, and tokens or whole words hidden in them.

What is hidden is what the task `mlm` hides: the share of each sequence, and words in any script from the vocabulary's
entries. With a `seed` it is a function of the seed and of the batch's own token ids, in the main process and in any
worker: a run that is resumed sees the masks it would have seen, and as shuffled epochs put other examples together,
they get other masks in each. Without one, a number is drawn from torch's generator for each batch, so that
`torch.manual_seed` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from transformers import BatchEncoding

from ..data.pack import pack
from ..errors import InputError, RecipeError
from ..flow import Example, Vocabulary
from ..seeds import Draws, key_of
from ..tasks.mlm import MaskedLM, ordinary_ids
from .padding import ATTENTION, IDS, SPECIAL, array, as_kind, check_kind, padded
from .tokenizing import as_transformers, vocabulary_of

NOT_ASKED = -100
"""The label of a token that is not predicted."""
_OWN_MASKING = "torch_mask_tokens"
_NOT_CALLED = ("torch_call", "numpy_call", "numpy_mask_tokens", "mask_tokens")
_REFERENCE = "chinese_ref"
_UNUSED = ("labels", "offset_mapping", _REFERENCE)


@dataclass
class DataCollatorForLanguageModeling:
    """Pads a batch, hides tokens in it and labels them; -100 elsewhere. Special tokens and padding are never hidden.

    An example is a mapping with `input_ids` or the ids alone; other columns of numbers go with it. The share
    `mlm_probability` of each sequence is labelled; of these tokens `mask_replace_prob` become the mask token,
    `random_replace_prob` another one, the rest stays. With `whole_word_mask` whole words are. Without `mlm` the labels
    are the ids. A subclass may hide other tokens with a `torch_mask_tokens(inputs, special_tokens_mask)` of its own,
    which takes two tensors [B, L] and returns the ids and the labels. Raises RecipeError for settings out of range and
    for a tokenizer without a mask token, InputError for examples that make no batch.
    """

    tokenizer: Any
    mlm: bool = True
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    whole_word_mask: bool = False

    def __post_init__(self) -> None:
        self.tokenizer = as_transformers(self.tokenizer)
        check_kind(self.return_tensors)
        if self.whole_word_mask and not self.mlm:
            raise RecipeError("whole_word_mask=True hides words, and mlm=False hides nothing; choose one")
        if not self.mlm:
            return
        if self.tokenizer.mask_token_id is None:
            raise RecipeError("the tokenizer has no mask token, which masked LM needs; set tokenizer.mask_token")
        if not 0 < self.mlm_probability < 1:
            raise RecipeError(f"mlm_probability is a share between 0 and 1, not {self.mlm_probability}")
        replaced = (self.mask_replace_prob, self.random_replace_prob)
        if min(replaced) < 0 or sum(replaced) > 1:
            raise RecipeError(
                f"mask_replace_prob and random_replace_prob are shares of at most 1 together, not {replaced}"
            )

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> BatchEncoding:
        """`input_ids`, `attention_mask` and `labels`, all [B, L] int64, and the other columns of the features."""
        kind = check_kind(return_tensors or self.return_tensors)
        columns = padded(features, self.tokenizer, self.pad_to_multiple_of, _UNUSED)
        ids, real = columns[IDS], columns[ATTENTION] != 0
        special = columns.pop(SPECIAL, None)
        if self.mlm:
            free = real if special is None else real & (special == 0)
            if own := getattr(self, _OWN_MASKING, None):
                left_alone = (~free | np.isin(ids, self.tokenizer.all_special_ids)).astype(np.int64)
                masked = own(torch.from_numpy(ids), special_tokens_mask=torch.from_numpy(left_alone))
                columns[IDS], columns["labels"] = (tensor.numpy() for tensor in masked)
            else:
                columns[IDS], columns["labels"] = self._hidden(ids, real, free, self._word_starts(features, ids, real))
        else:
            columns["labels"] = np.where(real, ids, NOT_ASKED)
        return as_kind(columns, kind)

    def __init_subclass__(cls) -> None:
        """Raises RecipeError for what transformers' collator calls and this one does not."""
        super().__init_subclass__()
        if unheard := [name for name in _NOT_CALLED if name in vars(cls)]:
            raise RecipeError(
                f"{cls.__name__} has {', '.join(unheard)}, which is not called here; override __call__, or "
                f"{_OWN_MASKING} for other masks"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_vocabulary"}

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.tokenizer)

    @property
    def _task(self) -> MaskedLM:
        return MaskedLM(
            rate=float(self.mlm_probability),
            unit="word" if self.whole_word_mask else "token",
            mask=float(self.mask_replace_prob),
            random=float(self.random_replace_prob) if len(ordinary_ids(self._vocabulary)) else 0.0,
        )

    def _hidden(
        self, ids: np.ndarray, real: np.ndarray, free: np.ndarray, vocabulary: Vocabulary
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids [B, L] with some of the `free` ones hidden, and the labels [B, L]."""
        labels = np.full_like(ids, NOT_ASKED)
        if not free.any():
            return ids, labels
        # What must not be hidden stands in as a mask token for the task, which leaves special ones alone.
        offered = np.where(free, ids, vocabulary.mask)
        examples = [
            Example(ids=row[kept], segments=np.zeros(int(kept.sum()), np.int64), key=number)
            for number, (row, kept) in enumerate(zip(offered, real, strict=True))
        ]
        batch = self._task.label(pack(examples, vocabulary), examples, Draws("collator", drawn(self.seed, ids)))
        positions, values = batch.labels[self._task.name]
        asked = np.full(batch.tokens, NOT_ASKED)
        asked[positions.numpy()] = values.numpy()
        labels[real] = asked
        hidden = ids.copy()
        hidden[real] = batch.ids.numpy()
        return np.where(free, hidden, ids), labels

    def _word_starts(self, features: Sequence[Any], ids: np.ndarray, real: np.ndarray) -> Vocabulary:
        """The vocabulary, which for examples with a `chinese_ref` knows at which tokens words go on."""
        if not self.whole_word_mask or not hasattr(features[0], "keys") or _REFERENCE not in features[0]:
            return self._vocabulary
        goes_on = np.zeros(real.shape, bool)
        for row, kept, feature in zip(goes_on, real, features, strict=True):
            row[np.flatnonzero(kept)[array(feature[_REFERENCE])]] = True
        inside = goes_on[real]
        begins = self._vocabulary.begins_word
        return replace(self._vocabulary, begins_word=lambda ids: begins(ids) & ~inside)


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """`DataCollatorForLanguageModeling` that hides whole words, in every script and with every tokenizer.

    What a word is says `text.words`. Where examples have a `chinese_ref`, the positions of tokens that go on the word
    before them, as a segmenter of Chinese found them, these words are hidden whole.
    """

    whole_word_mask: bool = True


@dataclass
class DataCollatorForSOP(DataCollatorForLanguageModeling):
    """`DataCollatorForLanguageModeling` for examples with a `sentence_order_label`, 0 in order and 1 swapped."""

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> BatchEncoding:
        """As its parent's, with `sentence_order_label` [B]. Raises InputError where an example has none."""
        if not all("sentence_order_label" in feature for feature in features):
            raise InputError("an example has no sentence_order_label; LineByLineWithSOPTextDataset makes such examples")
        return super().__call__(features, return_tensors)


def drawn(seed: int | None, ids: np.ndarray) -> int:
    """A number for a batch: of the seed and its token ids, or without a seed from torch's generator."""
    if seed is None:
        return int(torch.randint(2**62, ()))
    return key_of(seed, blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=16).hexdigest())
