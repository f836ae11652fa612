"""BERT: learned positions, and layers that normalise after adding (Devlin et al., "BERT", 2018)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, PretrainedConfig
from transformers.activations import ACT2FN

from ..flow import Batch
from ..nn.attention import Layout
from ..nn.dropout import Dropout
from ..nn.heads import Pooler, Predictor
from ..nn.layers import Activation, PostNormLayer
from . import checking
from .base import Encoder
from .laws import Part, Spread
from .naming import called
from .sizes import Size


class Bert(Encoder):
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    base_prefix = "bert"
    words_name = "embeddings.word_embeddings.weight"
    decoder_name = "cls.predictions.decoder"
    copies: ClassVar[Mapping[str, str]] = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    old_endings: ClassVar[Mapping[str, str]] = {
        "LayerNorm.gamma": "LayerNorm.weight",
        "LayerNorm.beta": "LayerNorm.bias",
    }
    kept_buffers = ("embeddings.position_ids", "embeddings.token_type_ids")
    inputs = ("input_ids", "token_type_ids", "attention_mask")
    token_fields: ClassVar[Mapping[str, str]] = {"pad_token_id": "pad"}

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        _check(config)
        hidden = config.hidden_size
        self.config = config
        self.words = called(nn.Embedding(config.vocab_size, hidden), "embeddings.word_embeddings")
        self.places = called(nn.Embedding(config.max_position_embeddings, hidden), "embeddings.position_embeddings")
        self.segments = called(nn.Embedding(config.type_vocab_size, hidden), "embeddings.token_type_embeddings")
        self.norm = called(nn.LayerNorm(hidden, config.layer_norm_eps), "embeddings.LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList(_layer(config, index) for index in range(config.num_hidden_layers))

    @classmethod
    def sized(cls, size: Size, vocab_size: int) -> BertConfig:
        return BertConfig(
            vocab_size=vocab_size,
            hidden_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.intermediate,
        )

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.words

    def encode(self, batch: Batch) -> Tensor:
        layout = Layout.of(batch)
        hidden = self.words(batch.ids) + self.segments(batch.segments) + self.places(batch.positions)
        hidden = self.dropout(self.norm(hidden))
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, layout, batch.reads if index == last else None)
        return hidden

    def pooler(self) -> Pooler:
        pooler = Pooler(self.config.hidden_size)
        called(pooler.dense, "bert.pooler.dense")
        return pooler

    def pair_pooler(self) -> Pooler:
        return self.pooler()

    def predictor(self) -> Predictor:
        config = self.config
        predictor = Predictor(config.hidden_size, config.vocab_size, config.layer_norm_eps, _activation(config))
        called(predictor.dense, "cls.predictions.transform.dense")
        called(predictor.norm, "cls.predictions.transform.LayerNorm")
        return called(predictor, "cls.predictions")

    @property
    def head_dropout(self) -> float:
        share = self.config.classifier_dropout
        return self.config.hidden_dropout_prob if share is None else share

    def spread(self, name: str) -> Spread:
        return Spread(self.config.initializer_range)

    def part(self, name: str) -> Part | None:
        heads = self.config.num_attention_heads
        if name == "embeddings.position_embeddings.weight":
            return Part("positions", heads)
        if scored := re.fullmatch(r"encoder\.layer\.(\d+)\.attention\.self\.(query|key)\.weight", name):
            return Part("query" if scored[2] == "query" else "key", heads, int(scored[1]))
        return None


def _layer(config: PretrainedConfig, index: int) -> PostNormLayer:
    hidden, eps = config.hidden_size, config.layer_norm_eps
    layer = PostNormLayer(hidden, config.num_attention_heads, config.intermediate_size, eps, _activation(config))
    layer.dropout.p = config.hidden_dropout_prob
    layer.attention_dropout.p = config.attention_probs_dropout_prob
    parts = {
        "attention.self.query": layer.query,
        "attention.self.key": layer.key,
        "attention.self.value": layer.value,
        "attention.output.dense": layer.attention_output,
        "attention.output.LayerNorm": layer.attention_norm,
        "intermediate.dense": layer.intermediate,
        "output.dense": layer.output,
        "output.LayerNorm": layer.output_norm,
    }
    for name, part in parts.items():
        called(part, f"encoder.layer.{index}.{name}")
    return layer


def _activation(config: PretrainedConfig) -> Activation:
    return F.gelu if config.hidden_act == "gelu" else ACT2FN[config.hidden_act]


def _check(config: PretrainedConfig) -> None:
    """Raises RecipeError for a config that BERT cannot be built from."""
    checking.at_least_one(
        config, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    checking.whole_heads(config)
    checking.probabilities(config, "hidden_dropout_prob", "attention_probs_dropout_prob")
    checking.activations(config, "hidden_act")
    checking.only(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
