"""What BERT and its near relations share: three tables, and a stack of layers, by transformers' names for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from transformers import PretrainedConfig

from ..flow import Batch
from ..nn.attention import Layout
from ..nn.causal import causal
from ..nn.dropout import Dropout
from ..nn.embedding import Embedding
from ..nn.layers import PostNormLayer
from ..nn.norm import Norm
from . import checking
from .activations import activation
from .base import Encoder, as_tied
from .laws import Part, Spread
from .naming import called


class PostNormEncoder(Encoder):
    """Words, segments and learned positions, added and normalised, below layers that normalise after adding.

    A concrete encoder adds its `layers`, after whatever it has before them, and the parts for heads.
    """

    words_name = "embeddings.word_embeddings.weight"
    old_endings: ClassVar[Mapping[str, str]] = {
        "LayerNorm.gamma": "LayerNorm.weight",
        "LayerNorm.beta": "LayerNorm.bias",
    }
    kept_buffers = ("embeddings.position_ids", "embeddings.token_type_ids")
    inputs = ("input_ids", "token_type_ids", "attention_mask")
    token_fields: ClassVar[Mapping[str, str]] = {"pad_token_id": "pad"}

    def __init__(self, config: PretrainedConfig, width: int) -> None:
        super().__init__()
        check(config)
        self.config = as_tied(config)
        self.words = called(Embedding(config.vocab_size, width), "embeddings.word_embeddings")
        self.places = called(Embedding(config.max_position_embeddings, width), "embeddings.position_embeddings")
        self.segments = called(Embedding(config.type_vocab_size, width), "embeddings.token_type_embeddings")
        self.norm = called(Norm(width, config.layer_norm_eps), "embeddings.LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.words

    @property
    def beside_words(self) -> tuple[nn.Embedding, ...]:
        return (self.places, self.segments)

    def embedded(self, batch: Batch) -> Tensor:
        """[N, width]: words, segments and positions."""
        hidden = self.words(batch.ids) + self.segments(batch.segments) + self.places(batch.positions)
        return self.dropout(self.norm(hidden))

    @property
    def head_dropout(self) -> float:
        share = self.config.classifier_dropout
        return self.config.hidden_dropout_prob if share is None else share

    def spread(self, name: str) -> Spread:
        return Spread(self.config.initializer_range)

    def part(self, name: str) -> Part | None:
        return part(self.config, name)


def layers(config: PretrainedConfig, prefix: str = "") -> nn.ModuleList:
    """The layers, called `encoder.layer.0...` after the prefix."""
    return nn.ModuleList(_layer(config, f"{prefix}encoder.layer.{n}") for n in range(config.num_hidden_layers))


def through(stack: nn.ModuleList, hidden: Tensor, batch: Batch) -> Tensor:
    """[N, H] through all layers: [R, H] at `batch.reads`, or [N, H]."""
    layout = causal(Layout.of(batch), batch)
    last = len(stack) - 1
    for index, layer in enumerate(stack):
        hidden = layer(hidden, layout, batch.reads if index == last else None)
    return hidden


def part(config: PretrainedConfig, name: str) -> Part | None:
    """What the tensor of that name does in finding positions, where the embeddings are as wide as the layers."""
    heads = config.num_attention_heads
    if name == "embeddings.position_embeddings.weight":
        return Part("positions", heads)
    if scored := re.fullmatch(r"encoder\.layer\.(\d+)\.attention\.self\.(query|key)\.weight", name):
        return Part("query" if scored[2] == "query" else "key", heads, int(scored[1]))
    return None


def check(config: PretrainedConfig) -> None:
    """Raises RecipeError for a config that no such encoder can be built from."""
    checking.at_least_one(
        config, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    checking.whole_heads(config)
    checking.probabilities(config, "hidden_dropout_prob", "attention_probs_dropout_prob")
    checking.activations(config, "hidden_act")
    checking.only(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)


def _layer(config: PretrainedConfig, prefix: str) -> PostNormLayer:
    layer = PostNormLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.layer_norm_eps,
        activation(config, "hidden_act"),
    )
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
    for name, one in parts.items():
        called(one, f"{prefix}.{name}")
    return layer
