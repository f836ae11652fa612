"""BERT: learned positions, and layers that normalise after adding (Devlin et al., "BERT", 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from transformers import BertConfig, PretrainedConfig

from ..flow import Batch
from ..nn.heads import Pooler, Predictor
from . import postnorm
from .activations import activation
from .naming import called
from .sizes import Size


class Bert(postnorm.PostNormEncoder):
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    base_prefix = "bert"
    decoder_name = "cls.predictions.decoder"
    copies: ClassVar[Mapping[str, str]] = {"cls.predictions.decoder.bias": "cls.predictions.bias"}

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config, config.hidden_size)
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

    def encode(self, batch: Batch) -> Tensor:
        return postnorm.through(self.layers, self.embedded(batch), batch)

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
