"""BERT: learned positions, and layers that normalise after adding (Devlin et al., "BERT", 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from transformers import BertConfig, PretrainedConfig

from ..flow import Batch
from ..nn.dropout import Dropout
from ..nn.embedding import Embedding
from ..nn.heads import Pooler, Predictor
from . import postnorm
from .activations import activation
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
        postnorm.check(config)
        hidden = config.hidden_size
        self.config = config
        self.words = called(Embedding(config.vocab_size, hidden), "embeddings.word_embeddings")
        self.places = called(Embedding(config.max_position_embeddings, hidden), "embeddings.position_embeddings")
        self.segments = called(Embedding(config.type_vocab_size, hidden), "embeddings.token_type_embeddings")
        self.norm = called(nn.LayerNorm(hidden, config.layer_norm_eps), "embeddings.LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.layers = postnorm.layers(config)

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

    @property
    def beside_words(self) -> tuple[nn.Embedding, ...]:
        return (self.places, self.segments)

    def encode(self, batch: Batch) -> Tensor:
        hidden = self.words(batch.ids) + self.segments(batch.segments) + self.places(batch.positions)
        return postnorm.through(self.layers, self.dropout(self.norm(hidden)), batch)

    def pooler(self) -> Pooler:
        pooler = Pooler(self.config.hidden_size)
        called(pooler.dense, "bert.pooler.dense")
        return pooler

    def pair_pooler(self) -> Pooler:
        return self.pooler()

    def predictor(self) -> Predictor:
        config = self.config
        predictor = Predictor(
            config.hidden_size, config.vocab_size, config.layer_norm_eps, activation(config, "hidden_act")
        )
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
        return postnorm.part(self.config, name)
