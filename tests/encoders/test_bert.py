"""What holds of BERT's forward pass whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bertwright.encoders.base import Encoder
from bertwright.errors import InputError, RecipeError
from bertwright.flow import Batch
from bertwright.nn.dropout import Dropout

MakeBatch = Callable[..., Batch]
FIXED = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXED
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=6), seed=st.integers(0, 9), data=st.data())
@torch.no_grad()
def test_packed_equals_alone(
    encoder: Encoder, make_batch: MakeBatch, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    batch = make_batch(lengths, seed=seed)
    together = encoder(batch)
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    for start, length in zip(starts, lengths, strict=False):
        part = slice(start, start + length)
        alone = replace(
            make_batch([length]), ids=batch.ids[part], positions=batch.positions[part], segments=batch.segments[part]
        )
        torch.testing.assert_close(together[part], encoder(alone), rtol=1e-5, atol=1e-5)
    reads = sorted(data.draw(st.sets(st.integers(0, sum(lengths) - 1), min_size=1)))
    torch.testing.assert_close(
        encoder(replace(batch, reads=torch.tensor(reads))), together[reads], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("lengths", "reads"),
    [
        ((6, 6, 6), (0, 3, 6, 11, 12, 13)),  # the same number in each of equal rows
        ((6, 6, 6), (0, 1, 2, 8)),  # none in the last
        ((6, 2, 9), (0, 6, 8)),  # one in each of unequal rows
        ((6, 2, 9), tuple(range(17))),  # all
        ((6, 2, 9), (16,)),
    ],
)
def test_reads_give_the_same_rows_and_gradients(
    encoder: Encoder, make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...]
) -> None:
    batch = make_batch(lengths)
    whole = encoder(batch)[list(reads)]
    whole.square().sum().backward()
    want = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad()
    some = encoder(make_batch(lengths, reads))
    some.square().sum().backward()
    torch.testing.assert_close(some, whole, rtol=1e-5, atol=1e-5)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name], rtol=1e-4, atol=1e-4, msg=name)


def test_a_sequence_of_all_positions_fits_and_a_longer_one_is_refused(encoder: Encoder, make_batch: MakeBatch) -> None:
    assert encoder(make_batch((24, 3))).shape == (27, 32)
    with pytest.raises(InputError, match=r"a sequence of 25 tokens; this encoder has 24 positions .* cut sequences"):
        encoder(make_batch((3, 25)))


def test_dropout_acts_in_training_only_and_follows_the_seed(encoder: Encoder, make_batch: MakeBatch) -> None:
    batch = make_batch((9, 4))
    calm = encoder(batch)
    encoder.train()
    torch.manual_seed(5)
    first, second = encoder(batch), encoder(batch)
    torch.manual_seed(5)
    assert torch.equal(encoder(batch), first)
    assert not torch.equal(first, second)
    encoder.set_dropout(0.0)
    torch.testing.assert_close(encoder(batch), calm)
    with pytest.raises(RecipeError, match=r"dropout 1\.0: it is a probability, at least 0 and below 1"):
        encoder.set_dropout(1.0)


@pytest.mark.parametrize("lengths", [(64, 64), (64, 20, 7)])
def test_bf16_stays_close(make_batch: MakeBatch, lengths: tuple[int, ...]) -> None:
    encoder = Encoder.from_config("mini", vocab_size=500, seed=1).eval()
    predictor = encoder.predictor()
    masked = torch.arange(0, sum(lengths), 7)
    values = torch.randint(500, masked.shape, generator=torch.Generator().manual_seed(0))
    batch = make_batch(lengths, vocab_size=500).labelled("mlm", masked, values)

    def loss() -> torch.Tensor:
        return F.cross_entropy(encoder.logits(predictor, encoder(batch)).float(), values)

    whole = loss()
    whole.backward()
    want = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        half = loss()
        assert encoder(batch).dtype == torch.float32
    half.backward()
    assert half.item() == pytest.approx(whole.item(), rel=5e-3)
    for name, parameter in encoder.named_parameters():
        other = want[name]
        assert parameter.grad is not None
        assert other is not None
        assert parameter.grad.dtype == torch.float32
        if not name.endswith("key.bias"):  # zero but for rounding
            assert float(F.cosine_similarity(parameter.grad.flatten(), other.flatten(), 0)) > 0.99, name


def test_tokens_of_other_sequences_do_not_matter(encoder: Encoder, make_batch: MakeBatch) -> None:
    batch = make_batch((5, 8, 3))
    ids = batch.ids.clone()
    ids[5:13] = 7
    changed, same = encoder(replace(batch, ids=ids)), encoder(batch)
    torch.testing.assert_close(changed[:5], same[:5], rtol=0, atol=1e-6)
    torch.testing.assert_close(changed[13:], same[13:], rtol=0, atol=1e-6)
    assert not torch.allclose(changed[5:13], same[5:13], atol=1e-2)


def test_each_dropout_has_its_own_share(encoder: Encoder, make_batch: MakeBatch) -> None:
    """Also the embeddings' one, of what enters the first layer."""
    config = encoder.config
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = 0.25, 0.5
    dropped = Encoder.from_config(config)
    found = {name: part.p for name, part in dropped.named_modules() if isinstance(part, Dropout)}
    assert {p for name, p in found.items() if name.endswith("attention_dropout")} == {0.5}
    assert {p for name, p in found.items() if not name.endswith("attention_dropout")} == {0.25}
    entered: list[torch.Tensor] = []
    dropped.layers[0].register_forward_pre_hook(lambda layer, inputs: entered.append(inputs[0]))
    torch.manual_seed(0)
    dropped(make_batch((24, 24, 24)))
    assert float((entered[0] == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
