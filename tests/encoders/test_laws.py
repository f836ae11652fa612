"""Drawn weights: what they look like, and that each depends on its seed and name alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig

from bertwright.encoders import laws
from bertwright.encoders.base import Encoder, called, hf_names
from bertwright.encoders.sizes import SIZES
from bertwright.errors import RecipeError


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: module.get_parameter(own).detach() for own, name in hf_names(module).items()}


def test_the_papers_law() -> None:
    drawn = weights(Encoder.from_config("tiny", vocab_size=1000, seed=4))
    matrices = torch.cat([x.flatten() for x in drawn.values() if x.ndim == 2])
    assert matrices.abs().max() <= 0.04
    assert matrices.abs().max() > 0.0399
    assert matrices.std().item() == pytest.approx(0.02 * 0.8796, rel=0.01)  # a normal cut at two deviations
    assert abs(matrices.mean().item()) < 1e-4
    for name, x in drawn.items():
        if x.ndim == 1:
            assert torch.equal(x, torch.full_like(x, float(name.endswith("LayerNorm.weight")))), name


def test_transformers_law() -> None:
    drawn = weights(Encoder.from_config("tiny", vocab_size=1000, init="normal", initializer_range=0.1))
    words = drawn["embeddings.word_embeddings.weight"]
    assert words.std().item() == pytest.approx(0.1, rel=0.02)
    assert words.abs().max() > 0.3
    assert not words[0].any()
    assert words[1:].any(1).all()
    assert drawn["embeddings.LayerNorm.weight"].eq(1).all()
    unpadded = weights(Encoder.from_config("tiny", vocab_size=1000, init="normal", pad_token_id=None))
    assert unpadded["embeddings.word_embeddings.weight"][0].any()


def test_zeros_and_what_is_said_of_them() -> None:
    encoder = Encoder.from_config("tiny", vocab_size=50, init="zeros")
    assert not any(x.any() for x in weights(encoder).values())
    warning = laws.warning("zeros")
    assert warning is not None
    assert "same gradient" in warning
    assert "\n" not in warning
    assert laws.warning("paper") is None
    assert laws.warning("normal") is None


def test_a_draw_depends_on_seed_and_name_alone(config: BertConfig) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one, again, other = (weights(Encoder.from_config(config, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    config.num_hidden_layers = 1
    shallow = weights(Encoder.from_config(config, seed=1))
    for name, x in one.items():
        assert torch.equal(x, again[name])
        assert name not in shallow or torch.equal(x, shallow[name])
        assert x.ndim == 1 or not torch.equal(x, other[name])
    layers = [one[f"encoder.layer.{i}.output.dense.weight"] for i in range(3)]
    assert not torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[1], layers[2])


def test_heads_are_drawn_by_name_too() -> None:
    def head(*others: nn.Module) -> nn.Module:
        return nn.ModuleList([*others, called(nn.Linear(8, 8), "classifier")])

    alone, behind = head(), head(called(nn.Linear(8, 8), "bert.pooler.dense"))
    for module in (alone, behind):
        laws.draw(module, 3, "paper")
    assert torch.equal(alone.get_parameter("0.weight"), behind.get_parameter("1.weight"))
    assert not torch.equal(behind.get_parameter("0.weight"), behind.get_parameter("1.weight"))
    assert not alone.get_parameter("0.bias").any()
    laws.draw(alone, 3, "paper", prefix="second.")
    assert not torch.equal(alone.get_parameter("0.weight"), behind.get_parameter("1.weight"))


def test_the_drawn_numbers_stay_the_same() -> None:
    """A published seed has to give the same model in every version."""
    encoder = Encoder.from_config("tiny", vocab_size=100, seed=1)
    first = encoder.word_embeddings.weight[0, :3].tolist()
    assert first == pytest.approx(FIRST, abs=1e-7)


FIRST = [0.0030361758545041084, -0.006980566307902336, -0.028154637664556503]


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str) -> None:
    from transformers import BertModel

    with torch.device("meta"):
        named = SIZES[size]
        theirs = BertModel(
            BertConfig(
                vocab_size=30522,
                hidden_size=named.hidden,
                num_hidden_layers=named.layers,
                num_attention_heads=named.hidden // 64,
                intermediate_size=4 * named.hidden,
            ),
            add_pooling_layer=False,
        )
    millions = {"tiny": 4.37, "mini": 11.10, "small": 28.50, "medium": 41.11, "base": 108.89, "large": 334.09}
    count = sum(p.numel() for p in theirs.parameters())
    assert count / 1e6 == pytest.approx(millions[size], abs=0.01)
    if size in ("tiny", "mini"):
        ours = Encoder.from_config(size, vocab_size=30522)
        assert sum(p.numel() for p in ours.parameters()) == count
        assert ours.config.hidden_act == "gelu"
        assert (ours.config.max_position_embeddings, ours.config.type_vocab_size) == (512, 2)


def test_an_unknown_law_is_refused(config: BertConfig) -> None:
    with pytest.raises(RecipeError, match=r"^unknown initialisation 'xavier'; known are paper, local, normal, zeros$"):
        Encoder.from_config(config, init="xavier")
