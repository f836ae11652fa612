"""Pseudo-log-likelihood: how likely a masked LM finds a text, each token said from all others.

A text of n tokens is copied; every token is hidden in one of the copies, and its log-probability there is added up. In
the exact form a copy hides one token (Salazar et al., "Masked language model scoring", ACL 2020), so there are n; in
the fast form there are `spacing` copies, the first of which hides tokens 1, 1 + spacing, 1 + 2 spacing ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data.pack import pack
from ..errors import RecipeError
from ..flow import Batch
from ..nn.rounding import rounded
from ..train.precision import device
from .answering import Answerer
from .spec import MICRO_TOKENS

FORMS = ("original", "within-word-l2r")
SPACING = 6
"""Copies of the fast form: a sixth of the tokens is hidden in each, about the share that BERTs are trained with."""
_AHEAD = 32
"""Forward passes whose copies are made together: what is equal among them is computed once."""
_READ = "hidden"
_LOGITS = 1 << 25
"""The most logits of a forward pass: 128 MB."""


class Text(NamedTuple):
    """A text as a tokenizer has it."""

    ids: np.ndarray
    """[n] without special tokens"""
    words: np.ndarray
    """[n] of which word each is"""

    @property
    def key(self) -> bytes:
        return self.ids.tobytes() + self.words.tobytes()


class Likelihood:
    """Scores texts in fp32 by a checkpoint's masked LM (see `answering.filler`).

    With the form `original` a copy hides one token alone; with `within-word-l2r` also what follows it in its word, for
    the rest of a word gives away what it began with (Kauf and Ivanova, "A better way to do masked language model
    scoring", ACL 2023). With a `spacing` it is the fast form. Raises RecipeError for another form.
    """

    def __init__(self, answerer: Answerer, form: str = "original", spacing: int | None = None) -> None:
        if form not in FORMS:
            raise RecipeError(f"the form of pseudo-log-likelihood is {' or '.join(FORMS)}, not {form!r}")
        self._model, self._vocabulary = answerer.model, answerer.tokenizer.vocabulary
        self._form, self._spacing = form, spacing
        self._from = answerer.task.fills_from or 0

    @property
    def longest(self) -> int:
        """How many tokens a text may have."""
        return self._model.encoder.config.max_position_embeddings - 2

    def __call__(self, texts: Sequence[Text], progress: Callable[[int, int], None] = lambda *_: None) -> np.ndarray:
        """[len(texts)] log-likelihoods in nats; `progress` hears how many of how many tokens went through the model.

        What is equal is computed once, so equal texts have equal scores to the last bit.
        """
        distinct: dict[bytes, int] = {}
        which = [distinct.setdefault(text.key, len(distinct)) for text in texts]
        once = [texts[at] for at in np.unique(which, return_index=True)[1]]
        scores, done, total = np.zeros(len(once)), 0, sum(self._cost(len(text.ids)) for text in once)
        for group in _by_length(once, self._cost):
            ids, words = (np.stack([getattr(once[at], part) for at in group]) for part in ("ids", "words"))
            scores[group] = self._scored(ids, words)
            done += len(group) * self._cost(ids.shape[1])
            progress(done, total)
        return scores[which]

    def _copies(self, tokens: int) -> int:
        return min(self._spacing or tokens, tokens)

    def _cost(self, tokens: int) -> int:
        return self._copies(tokens) * (tokens + 2)

    def _scored(self, ids: np.ndarray, words: np.ndarray) -> np.ndarray:
        """[S] of S texts of equal length, `ids` and `words` [S, n]."""
        (texts, n), copies = ids.shape, self._copies(ids.shape[1])
        hidden = np.where(self._hides(words, copies), self._vocabulary.mask, ids[:, None]).reshape(-1, n)
        seen: dict[bytes, int] = {}
        row = np.array([seen.setdefault(copy.tobytes(), len(seen)) for copy in hidden]).reshape(texts, copies)
        places = row[:, np.arange(n) % copies] * (n + 2) + np.arange(1, n + 1) + self._from
        shown = np.frombuffer(b"".join(seen), np.int64).reshape(-1, n)
        return self._said(shown, places.ravel(), ids.ravel()).reshape(texts, n).sum(1)

    def _hides(self, words: np.ndarray, copies: int) -> np.ndarray:
        """[S or 1, copies, n] which tokens each copy hides."""
        places = np.arange(words.shape[1])
        own = (places % copies == np.arange(copies)[:, None])[None]
        if self._form == "original":
            return own
        follows = (words[:, :, None] == words[:, None, :]) & (places[:, None] <= places)
        return own.astype(np.float32) @ follows.astype(np.float32) > 0

    def _said(self, shown: np.ndarray, places: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """[M] log-probabilities of `tokens` at `places` of the texts `shown` [C, n], these with two more tokens a row.

        The rows of a pass are a rounded number (see `nn.rounding`), so that all but the last have the same shape.
        """
        n = shown.shape[1]
        reads, read = np.unique(places, return_inverse=True)
        order = np.argsort(read, kind="stable")
        a_row = n // self._copies(n) + 1
        rows = _largest_size(min(MICRO_TOKENS // (n + 2), _LOGITS // (self._vocabulary.size * a_row)))
        said = np.zeros(len(places))
        for first in range(0, len(shown), rows):
            start, end = np.searchsorted(reads, (first * (n + 2), (first + rows) * (n + 2)))
            wanted = order[slice(*np.searchsorted(read[order], (start, end)))]
            batch = self._batch(shown[first : first + rows], reads[start:end] - first * (n + 2))
            said[wanted] = self._log_shares(batch, read[wanted] - start, tokens[wanted])
        return said

    def _batch(self, shown: np.ndarray, reads: np.ndarray) -> Batch:
        at = torch.from_numpy(reads)
        packed = pack([self._vocabulary.single(ids) for ids in shown], self._vocabulary)
        return packed.labelled(_READ, at, torch.zeros_like(at)).to(device())

    @torch.inference_mode()
    def _log_shares(self, batch: Batch, read: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """[m] log-probabilities of `tokens`, each at the read with the number `read`, of the whole vocabulary's."""
        encoder = self._model.encoder
        logits = encoder.logits(self._model.head, encoder(batch)[batch.rows(_READ)])
        shares = logits.float().log_softmax(-1)
        return shares[torch.from_numpy(read), torch.from_numpy(tokens)].cpu().numpy()


def _by_length(texts: Sequence[Text], cost: Callable[[int], int]) -> Iterator[list[int]]:
    """Which texts are scored together: of equal length, the longest first, in their order otherwise."""
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at].ids))
    group: list[int] = []
    for at in order:
        length = len(texts[at].ids)
        if group and (length != len(texts[group[0]].ids) or (len(group) + 1) * cost(length) > _AHEAD * MICRO_TOKENS):
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _largest_size(most: int) -> int:
    return next(size for size in range(max(1, most), 0, -1) if rounded(size) == size)
