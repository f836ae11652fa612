"""The collator for next-sentence prediction, for all the forms that its examples have had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from transformers import BatchEncoding

from ..errors import InputError, RecipeError
from ..flow import Document
from ..seeds import generator
from ..tasks.nsp import NextSentence
from .collators import DataCollatorForLanguageModeling, drawn
from .frames import Frame, frame_of
from .padding import IDS, TYPES, array
from .pair_datasets import LEAST_ROOM, NEXT_SENTENCE, TASKS_FRAME, check_share
from .tokenizing import as_transformers, vocabulary_of

_FIRST, _SECOND, _RANDOM = "tokens_a", "tokens_b", "is_random_next"


@final
@dataclass
class DataCollatorForNextSentencePrediction:
    """Batches of pairs with `next_sentence_label`, 0 where the second segment is next, and tokens hidden for masked LM.

    An example is one of

        {"input_ids": [n], "token_type_ids": [n], "next_sentence_label": 0 or 1}    as the dataset gives it
        {"tokens_a": [...], "tokens_b": [...], "is_random_next": bool}              token ids without special ones
        [[...], [...], ...]    or the same under "input_ids"                        a document: sentences of token ids

    Of documents pairs are cut as the task `nsp` does, second segments that are not next from other documents of the
    batch. Raises RecipeError for settings out of range, InputError for examples of another form and for a batch of one
    document.
    """

    tokenizer: Any
    mlm: bool = True
    block_size: int = 512
    short_seq_probability: float = 0.1
    nsp_probability: float = 0.5
    mlm_probability: float = 0.15
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    whole_word_mask: bool = False

    def __post_init__(self) -> None:
        check_share("short_seq_probability", self.short_seq_probability)
        check_share("nsp_probability", self.nsp_probability)
        self.tokenizer = as_transformers(self.tokenizer)
        self._hiding = DataCollatorForLanguageModeling(
            self.tokenizer,
            mlm=self.mlm,
            mlm_probability=self.mlm_probability,
            pad_to_multiple_of=self.pad_to_multiple_of,
            return_tensors=self.return_tensors,
            seed=self.seed,
            whole_word_mask=self.whole_word_mask,
        )
        self._frame: Frame = frame_of(self.tokenizer, 2)
        if self.block_size < self._frame.size + LEAST_ROOM:
            raise RecipeError(f"block_size is {self.block_size}; accepted is {self._frame.size + LEAST_ROOM} or more")

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> BatchEncoding:
        """Columns [B, L] of ids, types, attention and labels, and `next_sentence_label` [B]."""
        batch = self._hiding(self._pairs(features), return_tensors)
        if not self.mlm:
            del batch["labels"]
        return batch

    def _pairs(self, features: Sequence[Any]) -> list[Mapping[str, Any]]:
        if all(isinstance(feature, Mapping) and NEXT_SENTENCE in feature for feature in features):
            return list(features)
        if all(isinstance(feature, Mapping) and {_FIRST, _SECOND, _RANDOM} <= set(feature) for feature in features):
            return [self._framed(array(f[_FIRST]), array(f[_SECOND]), int(f[_RANDOM])) for f in features]
        documents = [feature.get(IDS, ()) if isinstance(feature, Mapping) else feature for feature in features]
        if all(_is_of_sentences(document) for document in documents):
            return self._of_documents([[array(s) for s in document if len(s)] for document in documents])
        raise InputError(
            f"an example is neither a pair with {NEXT_SENTENCE}, nor {_FIRST}, {_SECOND} and {_RANDOM}, "
            "nor a document of sentences of token ids"
        )

    def _framed(self, first: np.ndarray, second: np.ndarray, label: int) -> dict[str, Any]:
        """The pair, whose longer segment loses its end, or both theirs, until it fits the block."""
        room = self.block_size - self._frame.size
        first = first[: max(room - len(second), room - room // 2)]
        second = second[: room - len(first)]
        ids, types = self._frame.around(first, second)
        return {IDS: ids, TYPES: types, NEXT_SENTENCE: label}

    def _of_documents(self, documents: list[list[np.ndarray]]) -> list[Mapping[str, Any]]:
        filled = [sentences for sentences in documents if sentences]
        if len(filled) < 2 and self.nsp_probability:
            raise InputError("a batch of one document; pairs take sentences of at least two, so raise the batch size")
        task = NextSentence(random=float(self.nsp_probability), short=float(self.short_seq_probability))
        key = drawn(self.seed, np.concatenate([ids for sentences in filled for ids in sentences]))
        vocabulary = vocabulary_of(self.tokenizer)
        pairs: list[Mapping[str, Any]] = []
        for number, sentences in enumerate(filled):
            others = [other for at, other in enumerate(filled) if at != number] or filled
            document = Document(
                sentences=sentences,
                vocabulary=vocabulary,
                length=self.block_size - self._frame.size + TASKS_FRAME,
                elsewhere=_among(others),
            )
            for first, second, label in task.pairs(document, generator("collator", key, number)):
                pairs.append(self._framed(first, second, label))
        if not pairs:
            raise InputError("no pair can be cut from the documents of a batch: their text is too short")
        return pairs


def _among(documents: list[list[np.ndarray]]) -> Callable[[np.random.Generator], tuple[Sequence[np.ndarray], int]]:
    """Draws a token of the documents: the sentences of the one that it is in, and which of them that is."""
    places = [(sentences, at) for sentences in documents for at in range(len(sentences))]
    ends = np.cumsum([len(sentences[at]) for sentences, at in places])
    return lambda rng: places[int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))]


def _is_of_sentences(document: Any) -> bool:
    return len(document) > 0 and all(np.ndim(sentence) == 1 for sentence in document)
