"""What `from_config` takes, and the line it answers with when it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig, GPT2Config

from bertwright.encoders.base import Encoder
from bertwright.encoders.bert import Bert
from bertwright.errors import RecipeError


def test_a_config_is_taken_with_changes_and_left_alone(config: BertConfig) -> None:
    encoder = Encoder.from_config(config, vocab_size=70, num_hidden_layers=1)
    assert isinstance(encoder, Bert)
    assert encoder.word_embeddings.num_embeddings == 70
    assert encoder.config.vocab_size == 70
    assert len(encoder.layers) == 1
    assert config.vocab_size == 50
    assert isinstance(Bert.from_config("tiny", vocab_size=9), Bert)
    assert Bert.base_prefix == "bert"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; it has to be at least 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it has to be at least 1"),
        ({"hidden_size": 34}, "hidden_size 34 is not a multiple of num_attention_heads 4"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob is 1.0; it is a probability, at least 0 and below 1"),
        (
            {"position_embedding_type": "relative_key"},
            "'position_embedding_type' is not a field of transformers' BertConfig",
        ),
        ({"is_decoder": True}, "is_decoder is True; only False is an encoder of this kind"),
        ({"hiden_size": 64}, "'hiden_size' is not a field of transformers' BertConfig"),
        ({"hidden_size": "big"}, "hidden_size='big': Field 'hidden_size' expected int, got str (value: 'big')"),
    ],
)
def test_a_value_that_cannot_be(config: BertConfig, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Encoder.from_config(config, **changes)
    assert str(caught.value) == line


def test_an_unknown_activation_names_the_known(config: BertConfig) -> None:
    with pytest.raises(RecipeError, match=r"^unknown hidden_act 'swosh'; known are gelu, .*relu"):
        Encoder.from_config(config, hidden_act="swosh")


def test_relative_positions_of_an_old_config_are_refused(config: BertConfig) -> None:
    config = BertConfig.from_dict({**config.to_dict(), "position_embedding_type": "relative_key"})
    with pytest.raises(RecipeError, match=r"^position_embedding_type is 'relative_key'; only 'absolute' is"):
        Encoder.from_config(config)


def test_sizes_and_architectures_that_are_none() -> None:
    with pytest.raises(RecipeError, match=r"^unknown size 'huge'; known are tiny, mini, small, medium, base, large$"):
        Encoder.from_config("huge", vocab_size=50)
    with pytest.raises(RecipeError, match=r"^size 'tiny' needs the size of the vocabulary: vocab_size=\.\.\.$"):
        Encoder.from_config("tiny")
    with pytest.raises(RecipeError, match=r"^unknown encoder 'lstm'; known are bert"):
        Encoder.from_config("tiny", vocab_size=50, arch="lstm")
    with pytest.raises(RecipeError, match=r"^model_type 'gpt2' is not one that Encoder reads; accepted: bert"):
        Encoder.from_config(GPT2Config())
    with pytest.raises(RecipeError, match=r"^model_type 'gpt2' is not one that Bert reads; accepted: bert$"):
        Bert.from_config(GPT2Config())


def test_an_architecture_of_ones_own(tmp_path: Any, config: BertConfig) -> None:
    source = (
        "from bertwright.encoders.bert import Bert\n"
        "class Mine(Bert):\n"
        "    def forward(self, batch):\n"
        "        return 2 * super().forward(batch)\n"
    )
    (tmp_path / "mine.py").write_text(source)
    encoder = Encoder.from_config("tiny", vocab_size=9, arch=f"{tmp_path / 'mine.py'}:Mine")
    assert type(encoder).__name__ == "Mine"
    assert type(type(encoder).from_config(config)) is type(encoder)
    with pytest.raises(RecipeError, match=r"is Bert, and Mine was asked for"):
        type(encoder).from_config("tiny", vocab_size=9)
