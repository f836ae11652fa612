"""ModernBERT: the same numbers as transformers in both directions, and what holds of it whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ModernBertConfig, PreTrainedModel

from bertwright.encoders.base import Encoder, called, hf_names
from bertwright.encoders.exchange import Checkpoint, save
from bertwright.encoders.modern import GLOBAL, LOCAL, Modern
from bertwright.encoders.sizes import SIZES
from bertwright.errors import CheckpointError, InputError, RecipeError
from bertwright.flow import Batch, Vocabulary
from bertwright.nn.dropout import Dropout

MakeBatch = Callable[..., Batch]
Pad = Callable[[Batch], dict[str, Tensor]]
OwnTensors = Callable[..., dict[str, Tensor]]
FIXED = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHORT, EQUAL, LONG, EQUAL_LONG, ALONE = (7, 24, 1, 12), (9, 9, 9), (90, 3, 57, 20), (64, 64), (96,)
BATCHES = pytest.mark.parametrize("lengths", [SHORT, EQUAL, LONG, EQUAL_LONG, ALONE], ids=str)
LAST = pytest.mark.parametrize("layers", [4, 3], ids=["last layer global", "last layer local"])


@pytest.fixture
def config() -> ModernBertConfig:
    """Tokens see four others on either side in two of four layers; the angles of the two kinds differ."""
    return modern_config()


def modern_config(layers: int = 4) -> ModernBertConfig:
    return ModernBertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=96,
        local_attention=8,
        pad_token_id=0,
        bos_token_id=2,
        cls_token_id=2,
        eos_token_id=3,
        sep_token_id=3,
        initializer_range=0.2,
    )


@pytest.fixture
def encoder(config: ModernBertConfig) -> Encoder:
    return Encoder.from_config(config, seed=3).eval()


class Heads(nn.Module):
    """The heads that transformers' ModernBERT classes have, over our encoder."""

    def __init__(self, encoder: Encoder, head: str) -> None:
        super().__init__()
        predicts = head == "MaskedLM"
        self.first = encoder.predictor() if predicts else encoder.pooler()
        self.classifier = None if predicts else called(nn.Linear(encoder.config.hidden_size, 5), "classifier")

    def forward(self, encoder: Encoder, batch: Batch) -> Tensor:
        if self.classifier is None:
            return encoder.logits(self.first, encoder(batch))
        return self.classifier(self.first(encoder(replace(batch, reads=batch.firsts))))


HEADS = pytest.mark.parametrize("head", ["MaskedLM", "SequenceClassification"])


def theirs(name: str, config: ModernBertConfig) -> PreTrainedModel:
    torch.manual_seed(1)
    config.num_labels = 5
    model = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    return model


def inputs(batch: Batch, padded: Pad) -> dict[str, Tensor]:
    return {name: x for name, x in padded(batch).items() if name != "token_type_ids"}


def flat(x: Tensor, batch: Batch) -> Tensor:
    """A padded [S, L, ...] without its padding; anything else as it is."""
    if x.shape[:2] != (len(batch), max(batch.lengths)):
        return x
    return torch.cat([row[:n] for row, n in zip(x, batch.lengths, strict=True)])


def close(mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@BATCHES
@LAST
def test_hidden_states_of_their_model(
    tmp_path: Path, make_batch: MakeBatch, padded: Pad, lengths: tuple[int, ...], layers: int
) -> None:
    model = theirs("ModernBertModel", modern_config(layers))
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    assert isinstance(encoder, Modern)
    batch = make_batch(lengths)
    close(encoder(batch), flat(model(**inputs(batch, padded)).last_hidden_state, batch))


@torch.no_grad()
@HEADS
@pytest.mark.parametrize("lengths", [SHORT, LONG], ids=str)
def test_logits_of_their_checkpoints(
    config: ModernBertConfig, tmp_path: Path, make_batch: MakeBatch, padded: Pad, head: str, lengths: tuple[int, ...]
) -> None:
    model = theirs(f"ModernBertFor{head}", config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    heads = Heads(encoder, head)
    loaded = Checkpoint.open(tmp_path).load_into(heads, hf_names(heads), optional=())
    assert [name for name in loaded.unused if not name.startswith("model.")] == []
    batch = make_batch(lengths)
    close(heads(encoder, batch), flat(model(**inputs(batch, padded)).logits, batch))


@torch.no_grad()
@HEADS
def test_logits_of_our_checkpoints(
    encoder: Encoder, tmp_path: Path, make_batch: MakeBatch, padded: Pad, own_tensors: OwnTensors, head: str
) -> None:
    torch.manual_seed(0)
    heads = Heads(encoder, head)
    encoder.config.num_labels = 5
    save(tmp_path, encoder.config, own_tensors(encoder, heads, prefix="model."), f"ModernBertFor{head}")
    model, info = getattr(transformers, f"ModernBertFor{head}").from_pretrained(
        tmp_path, attn_implementation="sdpa", output_loading_info=True
    )
    assert {key: list(value) for key, value in info.items() if value} == {}
    batch = make_batch(LONG)
    close(flat(model.eval()(**inputs(batch, padded)).logits, batch), heads(encoder, batch))


@torch.no_grad()
def test_our_bare_model(
    encoder: Encoder, tmp_path: Path, make_batch: MakeBatch, padded: Pad, own_tensors: OwnTensors
) -> None:
    save(tmp_path, encoder.config, own_tensors(encoder, prefix=""), "ModernBertModel")
    model, info = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    batch = make_batch(SHORT)
    close(encoder(batch), flat(model.eval()(**inputs(batch, padded)).last_hidden_state, batch))
    again = Encoder.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), encoder.parameters(), strict=True))


@HEADS
@LAST
def test_loss_and_every_gradient(tmp_path: Path, make_batch: MakeBatch, padded: Pad, head: str, layers: int) -> None:
    model = theirs(f"ModernBertFor{head}", modern_config(layers))
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path).eval()
    heads = Heads(encoder, head)
    Checkpoint.open(tmp_path).load_into(heads, hf_names(heads))
    batch = make_batch(LONG)
    if head == "MaskedLM":
        at, values = torch.tensor([2, 6, 80, 93, 94, 120, 169]), torch.tensor([5, 49, 7, 17, 5, 30, 8])
        batch = batch.labelled("mlm", at, values)
        ours = F.cross_entropy(encoder.logits(heads.first, encoder(batch)[batch.rows("mlm")]), values)
        labels = torch.full((sum(LONG),), -100).index_copy(0, at, values).split(LONG)
        want = model(**inputs(batch, padded), labels=nn.utils.rnn.pad_sequence(list(labels), True, -100)).loss
    else:
        values = torch.tensor([0, 4, 2, 1])
        ours = F.cross_entropy(heads(encoder, batch), values)
        want = model(**inputs(batch, padded), labels=values).loss
    ours.backward()
    want.backward()
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=0)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    compared = 0
    for part, prefix in ((encoder, "model."), (heads, "")):
        for own, name in hf_names(part, prefix).items():
            mine, other = part.get_parameter(own).grad, gradients[name]
            assert mine is not None
            assert other is not None
            if name == "model.embeddings.tok_embeddings.weight":
                mine, other = mine[1:], other[1:]  # there, the row of padding gets the decoder's part only
            assert (mine - other).norm() <= 1e-4 * other.norm(), name
            compared += 1
    assert compared == len(gradients)


@FIXED
@given(lengths=st.lists(st.integers(1, 96), min_size=1, max_size=5), seed=st.integers(0, 9), data=st.data())
@torch.no_grad()
def test_packed_equals_alone(
    encoder: Encoder, make_batch: MakeBatch, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    batch = make_batch(lengths, seed=seed)
    together = encoder(batch)
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    for start, length in zip(starts, lengths, strict=False):
        part = slice(start, start + length)
        alone = replace(make_batch([length]), ids=batch.ids[part])
        close(together[part], encoder(alone))
    reads = sorted(data.draw(st.sets(st.integers(0, sum(lengths) - 1), min_size=1)))
    close(encoder(replace(batch, reads=torch.tensor(reads))), together[reads])


@LAST
@BATCHES
def test_reads_give_the_same_rows_and_gradients(make_batch: MakeBatch, lengths: tuple[int, ...], layers: int) -> None:
    encoder = Encoder.from_config(modern_config(layers), seed=3)
    reads = [0, *range(5, sum(lengths), 4)]
    whole = encoder(make_batch(lengths))[reads]
    whole.square().sum().backward()
    want = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad()
    some = encoder(make_batch(lengths, reads))
    some.square().sum().backward()
    close(some, whole)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name], rtol=1e-4, atol=1e-4, msg=name)


@torch.no_grad()
def test_a_local_layer_sees_no_further_than_its_window(make_batch: MakeBatch) -> None:
    config = modern_config(2)
    config.layer_types = [LOCAL, LOCAL]
    encoder, batch = Encoder.from_config(config, seed=3), make_batch((40, 30))
    ids = batch.ids.clone()
    ids[20] = 5 + (ids[20] - 4) % 45
    changed = (encoder(replace(batch, ids=ids)) != encoder(batch)).any(1).nonzero().flatten().tolist()
    assert changed == list(range(20 - 8, 20 + 9))  # two layers of four tokens on either side


def test_a_longer_sequence_is_refused(encoder: Encoder, make_batch: MakeBatch) -> None:
    with pytest.raises(InputError, match=r"a sequence of 97 tokens; this encoder has 96 positions"):
        encoder(make_batch((3, 97)))


def test_dropout_comes_from_the_config_and_follows_the_seed(config: ModernBertConfig, make_batch: MakeBatch) -> None:
    config.embedding_dropout, config.mlp_dropout, config.attention_dropout = 0.1, 0.2, 0.3
    config.classifier_dropout = 0.4
    encoder, batch = Encoder.from_config(config, seed=3), make_batch(LONG)
    assert encoder.head_dropout == 0.4
    torch.manual_seed(5)
    first, second = encoder(batch), encoder(batch)
    torch.manual_seed(5)
    assert torch.equal(encoder(batch), first)
    assert not torch.equal(first, second)
    calm = encoder.eval()(batch)
    encoder.train().set_dropout(0.0)
    close(encoder(batch), calm)


@pytest.mark.parametrize("lengths", [(300, 20, 7), (64, 64)], ids=str)
def test_bf16_stays_close(make_batch: MakeBatch, lengths: tuple[int, ...]) -> None:
    encoder = Encoder.from_config("mini", arch="modern", vocab_size=500, seed=1).eval()
    predictor = encoder.predictor()
    encoder.draw_head(predictor, 1, "paper")
    masked = torch.arange(0, sum(lengths), 7)
    values = torch.randint(500, masked.shape, generator=torch.Generator().manual_seed(0))
    batch = make_batch(lengths, vocab_size=500).labelled("mlm", masked, values)

    def loss() -> Tensor:
        return F.cross_entropy(encoder.logits(predictor, encoder(batch)).float(), values)

    whole = loss()
    whole.backward()
    want = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = encoder(batch)
        half = loss()
    assert hidden.dtype == torch.float32
    half.backward()
    assert half.item() == pytest.approx(whole.item(), rel=5e-3)
    for name, parameter in encoder.named_parameters():
        other = want[name]
        assert parameter.grad is not None
        assert other is not None
        assert parameter.grad.dtype == torch.float32
        assert float(F.cosine_similarity(parameter.grad.flatten(), other.flatten(), 0)) > 0.99, name


def test_it_is_drawn_as_transformers_draws() -> None:
    encoder = Encoder.from_config("tiny", arch="modern", vocab_size=1000, seed=4, initializer_cutoff_factor=1.5)
    classifier = called(nn.Linear(128, 1000), "classifier")
    drawn = {name: encoder.get_parameter(own) for own, name in hf_names(encoder, "model.").items()}
    for head in (nn.ModuleList([encoder.pooler(), classifier]), encoder.predictor()):
        encoder.draw_head(head, 4, "paper")
        drawn |= {name: head.get_parameter(own) for own, name in hf_names(head).items()}
    encoder.config.num_labels = 1000
    torch.manual_seed(0)
    masked, sequence = (
        getattr(transformers, f"ModernBertFor{head}")(encoder.config) for head in ("MaskedLM", "SequenceClassification")
    )
    reference = dict(masked.named_parameters()) | dict(sequence.named_parameters())
    assert drawn.keys() == reference.keys()
    for name, x in drawn.items():
        if x.ndim == 1:
            assert torch.equal(x, reference[name]), name
        else:
            assert x.std().item() == pytest.approx(reference[name].std().item(), rel=0.03), name
            assert x.abs().max().item() == pytest.approx(reference[name].abs().max().item(), rel=0.01), name


def test_the_drawn_numbers_stay_the_same() -> None:
    """A published seed has to give the same model in every version."""
    encoder = Encoder.from_config("tiny", arch="modern", vocab_size=100, seed=1)
    assert encoder.word_embeddings.weight[0, :3].tolist() == pytest.approx(FIRST_WORDS, abs=1e-7)
    assert encoder.get_parameter("layers.1.output.weight")[0, :3].tolist() == pytest.approx(FIRST_OUT, abs=1e-7)


FIRST_WORDS = [-0.026533670723438263, -0.008671428076922894, -0.0006427185726352036]
FIRST_OUT = [-0.005740166176110506, 0.009636355563998222, 0.012338600121438503]


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str) -> None:
    """As wide and deep as BERT's, with nearly as many weights in a layer; transformers builds the same."""
    with torch.device("meta"):
        named, config = SIZES[size], Modern.sized(SIZES[size], 500)
        ours, model = Modern(config), transformers.ModernBertModel(config)
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: ours.get_parameter(own).shape for own, name in hf_names(ours).items()
    }
    assert (config.hidden_size, config.num_hidden_layers) == (named.hidden, named.layers)
    assert config.hidden_size // config.num_attention_heads == 64
    assert config.intermediate_size % 64 == 0
    layer = sum(p.numel() for p in ours.layers[0].parameters())
    assert layer == pytest.approx(12 * named.hidden**2, rel=0.05)
    assert config.layer_types[:4] == [GLOBAL, LOCAL, LOCAL, GLOBAL][: named.layers]
    assert (config.local_attention, config.max_position_embeddings) == (128, 1024)


def test_special_tokens_of_the_config() -> None:
    fields = ("pad_token_id", "bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id")
    own = Encoder.from_config("tiny", arch="modern", vocab_size=50).config
    assert [getattr(own, name) for name in fields] == [0, 2, 2, 3, 3]
    tokens = Vocabulary(size=50, pad=9, cls=5, sep=6, mask=7, unk=8, special=(5, 6, 7, 8, 9))
    given = Encoder.from_config("tiny", arch="modern", vocab_size=50, tokens=tokens).config
    assert [getattr(given, name) for name in fields] == [9, 5, 5, 6, 6]
    bert = Encoder.from_config("tiny", vocab_size=50, tokens=tokens, init="normal")
    assert bert.config.pad_token_id == 9
    assert [int(row) for row in (~bert.word_embeddings.weight.any(1)).nonzero()] == [9]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"hidden_size": 34}, "hidden_size 34 is not a multiple of num_attention_heads 4"),
        (
            {"hidden_size": 36},
            "heads are 9 wide (hidden_size / num_attention_heads); rotary positions need an even width",
        ),
        ({"mlp_dropout": 1.0}, "mlp_dropout is 1.0; it is a probability, at least 0 and below 1"),
        ({"attention_bias": True}, "attention_bias is True; only False is an encoder of this kind"),
        ({"local_attention": 1}, "local_attention is 1; it has to be at least 2"),
        ({"vocab_size": 0}, "vocab_size is 0; it has to be at least 1"),
        ({"pad_token_id": 50}, "pad_token_id is 50, which is not in a vocabulary of 50"),
        (
            {"num_hidden_layers": 2},
            f"layer_types is ['{GLOBAL}', '{LOCAL}', '{LOCAL}', '{GLOBAL}']; it has to name each of the 2 layers, "
            f"as '{GLOBAL}' or '{LOCAL}'",
        ),
    ],
)
def test_a_value_that_cannot_be(config: ModernBertConfig, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Encoder.from_config(config, **changes)
    assert str(caught.value) == line


def test_other_angles_than_the_default_are_refused(config: ModernBertConfig) -> None:
    config.rope_parameters = {
        **config.rope_parameters,
        LOCAL: {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
    }
    with pytest.raises(RecipeError, match=r"^the rope_type of sliding_attention is 'linear'; only 'default' is"):
        Encoder.from_config(config)


@torch.no_grad()
def test_a_config_of_the_first_models(config: ModernBertConfig, tmp_path: Path, make_batch: MakeBatch) -> None:
    """They wrote the angles and the order of layers as three numbers, and their classifiers read the mean."""
    model = theirs("ModernBertForMaskedLM", config)
    model.save_pretrained(tmp_path)
    fields = config.to_dict() | {"architectures": ["ModernBertForMaskedLM"], "classifier_pooling": "mean"}
    fields |= {"global_rope_theta": 500.0, "local_rope_theta": 20.0, "global_attn_every_n_layers": 2}
    del fields["layer_types"], fields["rope_parameters"]
    (tmp_path / "config.json").write_text(ModernBertConfig.from_dict(fields).to_json_string())
    encoder = Encoder.from_pretrained(tmp_path).eval()
    assert encoder.config.layer_types == [GLOBAL, LOCAL, GLOBAL, LOCAL]
    assert encoder.config.rope_parameters[GLOBAL]["rope_theta"] == 500.0
    assert encoder.config.classifier_pooling == "mean"
    other = transformers.ModernBertModel.from_pretrained(tmp_path).eval()
    batch = make_batch((80,))
    close(encoder(batch), other(input_ids=batch.ids[None]).last_hidden_state[0])


def test_a_decoder_of_its_own_weights_is_refused(config: ModernBertConfig, tmp_path: Path) -> None:
    theirs("ModernBertForMaskedLM", config).save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path)
    predictor = encoder.predictor()
    words = encoder.word_embeddings.weight.detach().clone()
    for weights in (words, words + 1):
        tensors = load_file(tmp_path / "model.safetensors") | {"decoder.weight": weights}
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
        if weights is words:
            loaded = Checkpoint.open(tmp_path).load_into(predictor, hf_names(predictor), optional=())
            assert "decoder.weight" not in loaded.unused
        else:
            with pytest.raises(CheckpointError, match=r"decoder.weight differs from model.embeddings.tok_embeddings"):
                Checkpoint.open(tmp_path).load_into(predictor, hf_names(predictor))


def test_each_dropout_has_its_own_share(config: ModernBertConfig, make_batch: MakeBatch) -> None:
    """Also the embeddings' one, of what enters the first layer."""
    config.embedding_dropout, config.mlp_dropout, config.attention_dropout = 0.1, 0.2, 0.3
    encoder = Encoder.from_config(config, seed=3)
    found = {name: part.p for name, part in encoder.named_modules() if isinstance(part, Dropout)}
    assert {found[f"layers.{n}.dropout"] for n in range(4)} == {0.2}
    assert {found[f"layers.{n}.attention_dropout"] for n in range(4)} == {0.3}
    entered: list[Tensor] = []
    encoder.layers[0].register_forward_pre_hook(lambda layer, inputs: entered.append(inputs[0]))
    torch.manual_seed(0)
    encoder(make_batch((90, 90)))
    assert float((entered[0] == 0).double().mean()) == pytest.approx(0.1, abs=0.02)
