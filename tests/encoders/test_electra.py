"""ELECTRA: the same numbers as transformers in both directions, with and without a projection of the embeddings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ElectraConfig

from bertwright.encoders.base import Encoder, called, hf_names
from bertwright.encoders.electra import Electra, Generator, narrowed
from bertwright.encoders.exchange import Checkpoint, save
from bertwright.encoders.sizes import SIZES
from bertwright.errors import RecipeError
from bertwright.flow import Batch
from bertwright.tasks.classify import Classify

MakeBatch = Callable[..., Batch]
Pad = Callable[[Batch], dict[str, Tensor]]
OwnTensors = Callable[..., dict[str, Tensor]]
LENGTHS = (7, 24, 1, 12)
HEADS = pytest.mark.parametrize("head", ["PreTraining", "MaskedLM", "SequenceClassification"])


@pytest.fixture(params=[32, 20], ids=["equal widths", "projected"])
def config(request: pytest.FixtureRequest) -> ElectraConfig:
    return electra_config(request.param)


def electra_config(width: int = 20) -> ElectraConfig:
    return ElectraConfig(
        vocab_size=50,
        embedding_size=width,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        initializer_range=0.3,
        id2label=dict(enumerate("abcde")),
    )


def theirs(head: str, config: ElectraConfig) -> Any:
    torch.manual_seed(1)
    model = getattr(transformers, f"ElectraFor{head}")._from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    return model


class Heads(nn.Module):
    """One of the heads that transformers' ELECTRA classes have, over our encoder."""

    def __init__(self, encoder: Encoder, head: str) -> None:
        super().__init__()
        self.name = head
        hidden = encoder.config.hidden_size
        if head == "MaskedLM":
            self.part: nn.Module = encoder.predictor()
        elif head == "PreTraining":
            parts = {"dense": nn.Linear(hidden, hidden), "act": nn.GELU(), "dense_prediction": nn.Linear(hidden, 1)}
            for name in ("dense", "dense_prediction"):
                called(parts[name], f"discriminator_predictions.{name}")
            self.part = nn.Sequential(OrderedDict(parts))
        else:
            self.part = Classify(classes=("a", "b", "c", "d", "e")).head(encoder)

    def forward(self, encoder: Encoder, batch: Batch) -> Tensor:
        hidden = encoder(batch)
        if self.name == "MaskedLM":
            return encoder.logits(self.part, hidden)
        if self.name == "PreTraining":
            return self.part(hidden).squeeze(-1)
        return self.part(hidden[batch.firsts])


def flat(x: Tensor, batch: Batch) -> Tensor:
    if x.shape[:2] != (len(batch), max(batch.lengths)):
        return x
    return torch.cat([row[:n] for row, n in zip(x, batch.lengths, strict=True)])


@HEADS
@torch.no_grad()
def test_logits_of_their_checkpoints(
    head: str, config: ElectraConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad
) -> None:
    model = theirs(head, config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    assert isinstance(encoder, Electra)
    heads = Heads(encoder, head).eval()
    loaded = Checkpoint.open(tmp_path).load_into(heads, hf_names(heads), optional=())
    assert [name for name in loaded.unused if not name.startswith("electra.")] == []
    batch = make_batch(LENGTHS)
    want = flat(model(**padded(batch)).logits, batch)
    torch.testing.assert_close(heads(encoder, batch), want, rtol=1e-5, atol=1e-5)


@HEADS
@torch.no_grad()
def test_logits_of_our_checkpoints(
    head: str, config: ElectraConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad, own_tensors: OwnTensors
) -> None:
    encoder = Encoder.from_config(config, seed=3).eval()
    torch.manual_seed(0)
    heads = Heads(encoder, head).eval()
    save(tmp_path, encoder.config, own_tensors(encoder, heads, prefix="electra."), f"ElectraFor{head}")
    model, info = getattr(transformers, f"ElectraFor{head}").from_pretrained(tmp_path, output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    batch = make_batch(LENGTHS)
    got = flat(model.eval()(**padded(batch)).logits, batch)
    torch.testing.assert_close(got, heads(encoder, batch), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_hidden_states_at_reads_and_of_their_bare_model(
    config: ElectraConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad
) -> None:
    model = theirs("PreTraining", config).electra
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    whole = make_batch(LENGTHS)
    want = flat(model(**padded(whole)).last_hidden_state, whole)
    torch.testing.assert_close(encoder(whole), want, rtol=1e-5, atol=1e-5)
    reads = [0, 6, 8, 20, 31, 43]
    torch.testing.assert_close(encoder(make_batch(LENGTHS, reads)), want[reads], rtol=1e-5, atol=1e-5)


def test_every_gradient_of_the_masked_lm(
    config: ElectraConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad
) -> None:
    model = theirs("MaskedLM", config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    head = encoder.predictor()
    Checkpoint.open(tmp_path).load_into(head, hf_names(head), optional=())
    batch = make_batch(LENGTHS)
    at, values = torch.tensor([2, 6, 7, 20, 31, 33, 40]), torch.tensor([5, 49, 0, 17, 5, 30, 8])
    batch = batch.labelled("mlm", at, values)
    (encoder.token_loss(head, encoder(batch), values).total / len(values)).backward()
    F.cross_entropy(flat(model(**padded(batch)).logits, batch)[at], values).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    compared = 0
    for module, known in ((encoder, hf_names(encoder, "electra.")), (head, hf_names(head))):
        for own, name in known.items():
            mine, other = module.get_parameter(own).grad, gradients[name]
            assert mine is not None
            assert other is not None
            if name == "electra.embeddings.word_embeddings.weight":
                mine, other = mine[1:], other[1:]  # there, the row of padding gets the decoder's part only
            assert (mine - other).norm() <= 1e-4 * other.norm() + 1e-6, name
            compared += 1
    assert compared == len(gradients)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@torch.no_grad()
def test_a_generator_is_their_masked_lm_on_anothers_embeddings(
    share: float, config: ElectraConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad, own_tensors: OwnTensors
) -> None:
    encoder = Encoder.from_config(config, seed=3).eval()
    assert isinstance(encoder, Electra)
    torch.manual_seed(0)
    generator = Generator(narrowed(config, share), "g/").eval()
    assert generator.config.hidden_size == 32 * share
    shared = {name: x for name, x in own_tensors(encoder, prefix="electra.").items() if ".embeddings." in name}
    own = {name.removeprefix("g/"): generator.get_parameter(key) for key, name in hf_names(generator).items()}
    save(tmp_path, generator.config, shared | own, "ElectraForMaskedLM")
    kind: Any = transformers.ElectraForMaskedLM
    model, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    batch = make_batch(LENGTHS)
    got = flat(model.eval()(**padded(batch)).logits, batch)
    ours = encoder.logits(generator.predictor, generator(encoder, batch))
    torch.testing.assert_close(got, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_berts(size: str) -> None:
    config = Electra.sized(SIZES[size], 100)
    assert config.embedding_size == config.hidden_size == SIZES[size].hidden
    narrow = narrowed(config, 0.25)
    assert narrow.hidden_size == config.hidden_size // 4
    assert narrow.hidden_size % narrow.num_attention_heads == 0
    assert narrow.embedding_size == config.embedding_size


def test_local_initialisation_is_for_equal_widths() -> None:
    def first_query(width: int, init: str) -> Tensor:
        return Encoder.from_config(electra_config(width), seed=1, init=init).layers[0].query.weight  # type: ignore[union-attr, return-value]

    assert not torch.equal(first_query(32, "local"), first_query(32, "paper"))
    assert torch.equal(first_query(20, "local"), first_query(20, "paper"))


def test_a_config_that_is_none() -> None:
    config = electra_config()
    config.embedding_size = 0
    with pytest.raises(RecipeError, match="embedding_size is 0"):
        Encoder.from_config(config)
    config = electra_config()
    config.num_attention_heads = 5
    with pytest.raises(RecipeError, match="not a multiple"):
        Encoder.from_config(config)
