"""Weights that start from counts: what is written where, and that it is what the counts say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from bertwright.data.cooccurrence import Counts, count
from bertwright.encoders import counted
from bertwright.encoders.base import Encoder
from bertwright.flow import Batch
from bertwright.nn.heads import Predictor
from bertwright.seeds import generator
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.model import Model

VOCABULARY = 60


def two_topics() -> Counts:
    """Of a text whose stretches are of tokens 10 to 29 or of 30 to 49; the others hardly occur."""
    draw = generator("topics")
    topics = [10 + 20 * (i % 2) + draw.integers(20, size=400) for i in range(20)]
    return count([*topics, draw.integers(50, 60, size=40)], VOCABULARY)


def written(arch: str = "modern", seed: int = 1, counts: Counts | None = None) -> tuple[Model, Model]:
    """A model as drawn, and the same one with what was counted."""
    models = []
    for _ in range(2):
        encoder = Encoder.from_config("tiny", vocab_size=VOCABULARY, arch=arch, seed=seed)
        models.append(Model(encoder, MaskedLM()))
        encoder.draw_head(models[-1].head, seed, "paper")
    drawn, model = models
    counted.write(counts or two_topics(), model.encoder, model.head, seed)
    return drawn, model


def predictor_of(model: Model) -> Predictor:
    return next(module for module in model.head.modules() if isinstance(module, Predictor))


def changed(drawn: Model, model: Model) -> set[str]:
    before = dict(drawn.named_parameters())
    return {name for name, x in model.named_parameters() if not torch.equal(x, before[name])}


def test_words_of_one_topic_lie_in_alike_directions() -> None:
    vectors = counted.vectors(two_topics(), 32, seed=1)
    cosines = vectors @ vectors.T
    within = torch.stack((cosines[10:30, 10:30], cosines[30:50, 30:50])).mean()
    assert within > cosines[10:30, 30:50].mean() + 0.5


def test_vectors_are_of_length_1_and_turned_by_the_seed() -> None:
    one, again, other = (counted.vectors(two_topics(), 32, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    seen = two_topics().tokens > 0
    assert torch.allclose(one[seen].norm(dim=1), torch.ones(int(seen.sum())), atol=1e-5)
    assert not torch.allclose(one, other, atol=0.1)
    known = slice(10, 50)
    assert torch.allclose(one[known] @ one[known].T, other[known] @ other[known].T, atol=0.05)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(rows=st.integers(1, 32), columns=st.integers(1, 32), width=st.integers(1, 50), seed=st.integers(0, 5))
def test_the_factor_is_that_of_the_singular_values(rows: int, columns: int, width: int, seed: int) -> None:
    """Of matrices so small that nothing is left to chance: U S^1/2, whose columns are compared one by one.

    Not with LAPACK's vectors: where two singular values are close, rounding turns one's into the other's.
    """
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    found = counted.left_factor(matrix, width, torch.Generator().manual_seed(7)).double()
    matrix = matrix.double()
    values = torch.linalg.svdvals(matrix)[:width]
    values = torch.nn.functional.pad(values, (0, width - len(values)))
    assert found.shape == (rows, width)
    assert torch.allclose(found.T @ found, values.diag(), atol=1e-4)
    assert torch.allclose(matrix @ (matrix.T @ found), found * values**2, atol=1e-3)


def test_a_wide_matrix_is_factored_from_a_random_start() -> None:
    """Values that fall by a tenth each: 16 of 300, found from 48 columns, to a thousandth of the largest."""
    own = torch.Generator().manual_seed(3)
    left, right = (torch.linalg.qr(torch.randn(300, 300, generator=own))[0] for _ in range(2))
    values = 0.9 ** torch.arange(300.0)
    found = counted.left_factor(left * values @ right.T, 16, own)
    exact = left[:, :16] * values[:16].sqrt()
    assert torch.allclose(found @ found.T, exact @ exact.T, atol=1e-3)


@pytest.mark.parametrize("arch", ["bert", "modern"])
def test_what_is_written_and_what_stays(arch: str) -> None:
    drawn, model = written(arch)
    encoder, counts = model.encoder, two_topics()
    tables = {"words": True, "places": arch == "bert", "segments": arch == "bert"}
    expected = {f"encoder.{name}.weight" for name, there in tables.items() if there}
    assert changed(drawn, model) == expected | {"head.bias", "head.dense.weight"}
    length = log(VOCABULARY) / encoder.config.hidden_size**0.5
    words, before = encoder.word_embeddings.weight, drawn.encoder.word_embeddings.weight
    assert torch.allclose(words[10:50].norm(dim=1), torch.tensor(length))
    scale = words[0] / before[0]
    assert torch.allclose(words[50:], before[50:] * scale)
    for table, other in zip(encoder.beside_words, drawn.encoder.beside_words, strict=True):
        assert torch.allclose(table.weight, other.weight * scale[0])
    assert scale[0].item() == pytest.approx(length / before.norm(dim=1).mean().item(), rel=1e-4)
    frequencies = torch.softmax(predictor_of(model).bias, 0)
    assert torch.allclose(frequencies, (counts.tokens + 1) / (counts.tokens + 1).sum(), atol=1e-6)
    dense = predictor_of(model).dense.weight - predictor_of(drawn).dense.weight
    assert torch.allclose(dense, 0.5 * torch.eye(len(dense)), atol=1e-6)


@torch.no_grad()
def test_an_untrained_model_predicts_by_frequency(make_batch: Callable[..., Batch]) -> None:
    """Its loss is near the entropy of single tokens, and not the logarithm of the vocabulary's size."""
    counts = two_topics()
    share = counts.tokens / counts.tokens.sum()
    entropy = -(share * share.clamp(min=1e-9).log()).sum().item()
    targets = torch.multinomial(share, 400, replacement=True, generator=torch.Generator().manual_seed(1))
    batch = make_batch([100] * 4, vocab_size=VOCABULARY)
    hidden = replace(batch, ids=torch.full_like(batch.ids, batch.vocabulary.mask))
    losses = [
        cross_entropy(model.encoder.logits(predictor_of(model), model.encoder(hidden)), targets).item()
        for model in written(counts=counts)
    ]
    assert losses[0] == pytest.approx(log(VOCABULARY), abs=0.1)
    assert losses[1] == pytest.approx(entropy, abs=0.15)
    assert losses[1] < losses[0] - 0.2


def test_a_vocabulary_larger_than_the_text_and_no_text_at_all() -> None:
    _, model = written(counts=count([], VOCABULARY))
    assert all(x.isfinite().all() for x in model.parameters())
    drawn, model = written(counts=count([torch.arange(3).repeat(30).numpy()], VOCABULARY))
    assert all(x.isfinite().all() for x in model.parameters())
    assert not torch.equal(model.encoder.word_embeddings.weight[0], drawn.encoder.word_embeddings.weight[0])


def test_vectors_are_a_factor_of_the_positive_mutual_information() -> None:
    """With contexts smoothed by 0.75; so wide that nothing is left out, their products are those of U S^1/2."""
    counts = two_topics()
    beside = counts.beside.double()
    smoothed = beside.sum(0) ** 0.75
    by_chance = beside.sum(1, keepdim=True).clamp(min=1e-9) * smoothed / smoothed.sum()
    left, values, _ = torch.linalg.svd((beside / by_chance.clamp(min=1e-9)).clamp(min=1.0).log())
    expected = torch.nn.functional.normalize(left * values.sqrt())[10:50]
    found = counted.vectors(counts, VOCABULARY, seed=1).double()[10:50]
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=1e-3)
