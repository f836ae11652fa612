"""Words from counts: what a text tells of its vocabulary before the first step, written into weights that were drawn.

A masked LM learns first how often each token occurs, then which occur beside which. Both can be counted in seconds:

- The bias of the vocabulary starts as the logarithm of the tokens' frequencies (Meister et al., "A natural bias for
  language generation models", ACL 2023).
- Word embeddings start as a factor of the tokens' positive pointwise mutual information with their contexts, which is
  what word2vec's objective finds (Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS
  2014), contexts smoothed by 0.75 (Levy, Goldberg and Dagan, "Improving distributional similarity with lessons learned
  from word embeddings", TACL 2015). Tokens that occur beside alike ones so have alike vectors.
- The dense layer before the vocabulary starts with half the identity added, so that what reaches it in the directions
  of words comes out in them.

Which words a sentence needs where is left to training, as are all layers.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from ..data.cooccurrence import Counts, contexts_of
from ..nn.heads import Predictor
from ..seeds import key_of
from .base import Encoder

LEAST = 20
"""Tokens that occur less often keep the direction that was drawn."""
CARRIED = 0.5
"""The share of the identity in the dense layer before the vocabulary."""
_SMOOTHED = 0.75
_MORE = 32
"""Directions that are sought besides those that are kept."""


def memory(vocab_size: int, width: int) -> int:
    """How many bytes counting and writing take beside a model: two tables of counts, and three of vectors."""
    return 4 * vocab_size * (2 * contexts_of(vocab_size) + 3 * (width + _MORE))


@torch.no_grad()
def write(counts: Counts, encoder: Encoder, head: nn.Module, seed: int) -> None:
    """Writes into an encoder's word embeddings, and into what predicts tokens in its head, what was counted.

    What is added to words in the embeddings grows as they do, so that it weighs as much beside them as it was drawn to.
    """
    words = encoder.word_embeddings.weight
    known = counts.tokens >= LEAST
    length = _length(*words.shape)
    scale = length / words.norm(dim=1).mean().clamp(min=1e-6)
    for table in (encoder.word_embeddings, *encoder.beside_words):
        table.weight.mul_(scale)
    words[known] = length * vectors(counts, words.shape[1], seed)[known]
    for predictor in head.modules():
        if isinstance(predictor, Predictor):
            predictor.bias.copy_(_log_frequencies(counts.tokens))
            predictor.dense.weight.add_(CARRIED * torch.eye(*predictor.dense.weight.shape))


def _length(vocab_size: int, width: int) -> float:
    """Of a word's vector.

    Behind a norm, whose vectors have the length sqrt(width), a token whose own direction comes out then has a logit of
    ln V: what it takes to stand out among all others. Longer vectors are slower to change, too, as AdamW's steps are
    all of one size.
    """
    return log(vocab_size) / width**0.5


def _log_frequencies(occurrences: Tensor) -> Tensor:
    logarithms = (occurrences + 1).log()
    return logarithms - logarithms.mean()


def vectors(counts: Counts, width: int, seed: int) -> Tensor:
    """[V, width] of length 1: tokens with alike neighbours lie in alike directions, turned as the seed says."""
    factor = left_factor(_mutual_information(counts.beside), width, _generator(seed, "range"))
    turn = torch.linalg.qr(torch.randn(width, width, generator=_generator(seed, "turn")))[0]
    return nn.functional.normalize(factor @ turn)


def _mutual_information(beside: Tensor) -> Tensor:
    """[V, C]: the logarithm of how many times as often as by chance; 0 where less often."""
    of_token = beside.sum(1, keepdim=True).clamp(min=1e-9)
    of_context = beside.sum(0) ** _SMOOTHED
    by_chance = of_context / of_context.sum().clamp(min=1e-9)
    return (beside / of_token).div_(by_chance.clamp(min=1e-9)).clamp_(min=1.0).log_()


def left_factor(matrix: Tensor, width: int, generator: torch.Generator, iterations: int = 2) -> Tensor:
    """[V, C] -> U S^1/2 [V, width] of the largest singular values, 0 in columns beyond those that there are.

    By subspace iteration from a random start: Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM
    Review 2011, algorithm 4.4.
    """
    more = min(width + _MORE, *matrix.shape)
    basis = torch.linalg.qr(matrix @ torch.randn(matrix.shape[1], more, generator=generator))[0]
    for _ in range(iterations):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, _ = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    factor = basis @ left[:, :width] * values[:width].sqrt()
    return nn.functional.pad(factor, (0, width - factor.shape[1]))


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(key_of(seed, "counted", purpose))
