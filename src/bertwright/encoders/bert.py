"""BERT: learned positions, and layers that normalise after adding (Devlin et al., "BERT", 2018)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, PretrainedConfig
from transformers.activations import ACT2FN

from ..errors import InputError, RecipeError
from ..flow import Batch
from ..nn.attention import Layout
from ..nn.dropout import Dropout
from ..nn.heads import Pooler, Predictor
from ..nn.layers import Activation, PostNormLayer
from .base import Encoder
from .naming import called
from .sizes import Size


class Bert(Encoder):
    base_prefix = "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)

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

    def forward(self, batch: Batch) -> Tensor:
        """[R, H] at `batch.reads`, or [N, H]. Raises InputError for a sequence longer than the table of positions."""
        if max(batch.lengths) > self.config.max_position_embeddings:
            raise InputError(
                f"a sequence of {max(batch.lengths)} tokens; this encoder has {self.config.max_position_embeddings} "
                "positions (max_position_embeddings), so cut sequences to that length"
            )
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

    def predictor(self) -> Predictor:
        config = self.config
        predictor = Predictor(config.hidden_size, config.vocab_size, config.layer_norm_eps, _activation(config))
        called(predictor.dense, "cls.predictions.transform.dense")
        called(predictor.norm, "cls.predictions.transform.LayerNorm")
        return called(predictor, "cls.predictions")

    def set_dropout(self, p: float) -> None:
        if not 0 <= p < 1:
            raise RecipeError(f"dropout {p}: it is a probability, at least 0 and below 1")
        for module in self.modules():
            if isinstance(module, Dropout):
                module.p = p


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
    least_one = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size",
    )  # fmt: skip
    for name in least_one:
        if getattr(config, name) < 1:
            raise RecipeError(f"{name} is {getattr(config, name)}; it has to be at least 1")
    if config.hidden_size % config.num_attention_heads:
        raise RecipeError(
            f"hidden_size {config.hidden_size} is not a multiple of num_attention_heads {config.num_attention_heads}"
        )
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if not 0 <= getattr(config, name) < 1:
            raise RecipeError(f"{name} is {getattr(config, name)}; it is a probability, at least 0 and below 1")
    if config.hidden_act not in ACT2FN:
        raise RecipeError(f"unknown hidden_act {config.hidden_act!r}; known are {', '.join(ACT2FN)}")
    for name, expected in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
    ):
        if getattr(config, name, expected) != expected:
            raise RecipeError(f"{name} is {getattr(config, name)!r}; only {expected!r} is an encoder of this kind")
