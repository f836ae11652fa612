"""Datasets of sentence pairs: is the second next, in order, or of the same sentence?

The pairs are those of the tasks `nsp`, `sop` and `ssp`, drawn once for a `seed` and kept as memory-mapped ids beside
the text, as the text's own are (see `datasets`). The files hold a sentence a line and a blank line between documents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from ..data.store import Documents
from ..data.writer import HashedFile, PartWriter
from ..errors import InputError, RecipeError
from ..seeds import generator
from ..tasks.nsp import NextSentence
from ..tasks.pairs import PairTask
from ..tasks.sop import SentenceOrder
from ..tasks.ssp import SameSentence
from .cache import Text, mapped, part_at, text_at
from .datasets import MappedDataset, encoded
from .reading import by_article, by_blank_line, file_at, files_in
from .tokenizing import fingerprint, vocabulary_of

NEXT_SENTENCE, SENTENCE_ORDER = "next_sentence_label", "sentence_order_label"
LEAST_ROOM = 4
"""Tokens of two segments that are worth asking about."""
_LONGEST = 1 << 20
TASKS_FRAME = 3
"""Special tokens that a task leaves room for."""


class PairDataset(MappedDataset):
    """Items `{"input_ids": [n], "token_type_ids": [n], LABEL: []}`, whose label has the name that the model takes."""

    def __init__(self, tokenizer: Any, block_size: int, task: PairTask, label: str, seed: int) -> None:
        super().__init__(tokenizer, block_size, segments=2, least=LEAST_ROOM)
        if block_size > _LONGEST:
            raise RecipeError(
                f"block_size is {block_size}, which is what a tokenizer without a longest length says; "
                f"accepted is what the model takes, such as 128 or 512, and at most {_LONGEST}"
            )
        self.task = task
        """The objective that the pairs and their labels are of."""
        self._label = label
        self._seed = seed

    def __len__(self) -> int:
        return len(self.part)

    def item(self, at: int) -> dict[str, Tensor]:
        part, labels = self._opened
        ids, types = self.frame.around(*part.sentences(at))
        label = torch.tensor(int(labels[at]))
        return {"input_ids": torch.from_numpy(ids), "token_type_ids": torch.from_numpy(types), self._label: label}

    def _cut(self, text: Text, documents: Path, where: Path, *, least: int, anew: bool = False) -> Path:
        """The folder of the pairs of the documents in another, of which it takes `least`. Raises InputError."""
        vocabulary = vocabulary_of(self.tokenizer)
        part, _ = part_at(documents, lambda: vocabulary)
        if len(part) < least:
            raise InputError(
                f"{where}: {len(part) or 'no'} document, and pairs take sentences of at least {least}; "
                "accepted is a sentence a line with blank lines between documents"
            )
        settings = {
            "tokenizer": fingerprint(self.tokenizer),
            "room": self.room,
            "seed": self._seed,
            **self.task.settings,
        }

        def fill(pairs: PartWriter, labels: HashedFile) -> None:
            self._write(part.documents(self.room + TASKS_FRAME), pairs, labels)
            if not pairs.documents:
                raise InputError(f"{where}: no pair can be cut from its {len(part)} documents: their text is too short")

        return mapped(text, self.task.name, settings, vocabulary.size, fill, anew=anew)

    def _write(self, documents: Documents, pairs: PartWriter, labels: HashedFile) -> None:
        for number in range(len(documents)):
            for first, second, label in self.task.pairs(documents[number], generator("cut", self._seed, number)):
                if len(first) and len(second):
                    pairs.add(np.concatenate((first, second)), np.array([len(first), len(second)]))
                    labels.write(bytes([label]))


@final
class TextDatasetForNextSentencePrediction(PairDataset):
    """Pairs for next-sentence prediction: `next_sentence_label` 0 where the second segment is next, 1 where not.

    `nsp_probability` is the share of second segments that are from another document, `short_seq_probability` that of
    pairs shorter than `block_size`. How pairs are cut, and what differs from the published code, says `tasks.nsp`.
    Raises InputError for a file that is missing, empty, no UTF-8 text or of a single document, RecipeError for a
    setting out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        file_path: str | os.PathLike[str],
        block_size: int,
        overwrite_cache: bool = False,
        short_seq_probability: float = 0.1,
        nsp_probability: float = 0.5,
        seed: int = 1,
    ) -> None:
        check_share("short_seq_probability", short_seq_probability)
        check_share("nsp_probability", nsp_probability)
        task = NextSentence(random=float(nsp_probability), short=float(short_seq_probability))
        super().__init__(tokenizer, block_size, task, NEXT_SENTENCE, seed)
        path = file_at(file_path, "file_path")
        text = text_at(path, (path,))
        documents = encoded(text, "documents", by_blank_line, self.tokenizer, anew=overwrite_cache)
        self.folder = self._cut(text, documents, path, least=1 + bool(task.random), anew=overwrite_cache)


@final
class TextDatasetForSameSentencePrediction(PairDataset):
    """Pairs for same-sentence prediction: `next_sentence_label` 1 where both are halves of one sentence, 0 where not.

    The objective is Sonmezoz and Amasyali's (ASYU 2021), asked of BERT's next-sentence head. `ssp_probability` is the
    share of pairs with a half of a sentence of another document; sentences with halves shorter than `shortest` tokens
    are taken together with the next. How pairs are cut says `tasks.ssp`. Raises as the dataset for next sentences does.
    """

    def __init__(
        self,
        tokenizer: Any,
        file_path: str | os.PathLike[str],
        block_size: int,
        overwrite_cache: bool = False,
        ssp_probability: float = 0.5,
        shortest: int = 5,
        seed: int = 1,
    ) -> None:
        check_share("ssp_probability", ssp_probability)
        task = SameSentence(random=float(ssp_probability), shortest=shortest)
        super().__init__(tokenizer, block_size, task, NEXT_SENTENCE, seed)
        path = file_at(file_path, "file_path")
        text = text_at(path, (path,))
        documents = encoded(text, "documents", by_blank_line, self.tokenizer, anew=overwrite_cache)
        self.folder = self._cut(text, documents, path, least=1 + bool(task.random), anew=overwrite_cache)


@final
class LineByLineWithSOPTextDataset(PairDataset):
    """Pairs for sentence-order prediction: `sentence_order_label` 0 where they stand in order, 1 where swapped.

    `file_dir` is a folder of files as WikiExtractor writes them (`<doc id=...>`, a title, a sentence a line, `</doc>`)
    or with blank lines between documents. How pairs are cut says `tasks.sop`. Raises as the other datasets do.
    """

    def __init__(self, tokenizer: Any, file_dir: str | os.PathLike[str], block_size: int, seed: int = 1) -> None:
        super().__init__(tokenizer, block_size, SentenceOrder(), SENTENCE_ORDER, seed)
        folder = Path(file_dir)
        text = text_at(folder, files_in(folder, "file_dir"))
        documents = encoded(text, "articles", by_article, self.tokenizer)
        self.folder = self._cut(text, documents, folder, least=1)


def check_share(name: str, share: float) -> None:
    """Raises RecipeError for what is not between 0 and 1."""
    if not 0 <= share <= 1:
        raise RecipeError(f"{name} is a share between 0 and 1, not {share}")
