"""The same held-out examples with the same masks for every contestant."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.store import TokenStore
from ...errors import InputError
from ...flow import Batch
from ...tasks.mlm import MaskedLM
from ...train.precision import device, products_in, resolve
from ..sources import labelled_once, store_examples

EXAMPLES = 256
_TOKENS = 2048
"""A forward pass: transformers' models make logits for every token of it."""


class HeldOut:
    """Held-out masked LM of a store: 15 % of the tokens, drawn as in BERT's paper."""

    def __init__(self, store: TokenStore, length: int) -> None:
        self._store, self._length = store, length

    @cached_property
    def batches(self) -> list[Batch]:
        """Raises InputError where nothing is held out."""
        task, tokenizer = MaskedLM(), self._store.tokenizer
        examples = store_examples(str(self._store.path), task, tokenizer, self._length, EXAMPLES)
        batches = list(labelled_once(task, examples, tokenizer, _TOKENS))
        if not batches:
            raise InputError(
                f"{self._store.path} is too small to hold anything out, so there is nothing to measure a loss on: give "
                "more text, with blank lines between documents, or use --seconds 0 for the speed alone"
            )
        return batches

    @torch.no_grad()
    def loss(self, logits_of: Callable[[Batch], Tensor]) -> float:
        """Nats a masked token, where `logits_of(batch)` is [M, V] at the batch's labels."""
        place = device()
        total, count = 0.0, 0
        for batch in self.batches:
            batch = batch.to(place)
            targets = batch.labels["mlm"].values
            with products_in(resolve("auto", place), place):
                logits = logits_of(batch)
            total += float(F.cross_entropy(logits.float(), targets, reduction="sum"))
            count += len(targets)
        return total / count
