"""ELECTRA: BERT's layers on embeddings that may be narrower than they are (Clark et al., "ELECTRA", ICLR 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ElectraConfig, PretrainedConfig

from ..flow import Batch
from ..nn.heads import GeluPooler, Pooler, Predictor
from ..nn.linear import Linear
from ..nn.rounding import in_even_tokens
from . import checking, postnorm
from .laws import Part
from .naming import called
from .sizes import Size


class Electra(postnorm.PostNormEncoder):
    model_types: ClassVar[tuple[str, ...]] = ("electra",)
    base_prefix = "electra"
    decoder_name = "generator_lm_head"
    classifier_name = "classifier.out_proj"

    def __init__(self, config: PretrainedConfig) -> None:
        checking.at_least_one(config, "embedding_size")
        super().__init__(config, config.embedding_size)
        self.project = _projection(config)
        self.layers = postnorm.layers(config)

    @classmethod
    def sized(cls, size: Size, vocab_size: int) -> ElectraConfig:
        """As BERT of that size: embeddings as wide as the layers."""
        return ElectraConfig(
            vocab_size=vocab_size,
            embedding_size=size.hidden,
            hidden_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.intermediate,
        )

    def encode(self, batch: Batch) -> Tensor:
        return postnorm.through(self.layers, self.project(self.embedded(batch)), batch)

    def pooler(self) -> GeluPooler:
        return self._pooler("classifier.dense")

    def choice_pooler(self) -> GeluPooler:
        return self._pooler("sequence_summary.summary")

    def _pooler(self, name: str) -> GeluPooler:
        pooler = GeluPooler(self.config.hidden_size, self.head_dropout)
        called(pooler.dense, name)
        return pooler

    def pair_pooler(self) -> Pooler:
        """BERT's, of its own name: transformers has no such model."""
        pooler = Pooler(self.config.hidden_size)
        called(pooler.dense, "pooler.dense")
        return pooler

    def predictor(self) -> Predictor:
        return _predictor(self.config)

    def part(self, name: str) -> Part | None:
        """Behind a projection, nothing: what stands where in the embeddings does not in the layers."""
        return super().part(name) if isinstance(self.project, nn.Identity) else None


class Generator(nn.Module):
    """A narrower ELECTRA that predicts tokens, on the embeddings of another, which stay that one's own.

    `config` is transformers' for the model that both make together, and `prefix` stands before all names.
    """

    def __init__(self, config: PretrainedConfig, prefix: str) -> None:
        super().__init__()
        postnorm.check(config)
        self.config = config
        self.project = _projection(config, f"{prefix}electra.")
        self.layers = postnorm.layers(config, f"{prefix}electra.")
        self.predictor = _predictor(config, prefix)

    def forward(self, encoder: Electra, batch: Batch) -> Tensor:
        """[R, h] at `batch.reads`, or [N, h]: what the predictor reads."""
        return in_even_tokens(lambda even: self._encode(encoder, even), batch)

    def _encode(self, encoder: Electra, batch: Batch) -> Tensor:
        return postnorm.through(self.layers, self.project(encoder.embedded(batch)), batch)


def narrowed(config: PretrainedConfig, share: float) -> PretrainedConfig:
    """The config of a generator of that share of the width, at least one head and 1 wide, with the same embeddings."""
    heads = max(1, round(share * config.num_attention_heads))
    narrower = {
        "hidden_size": heads * max(1, round(share * config.hidden_size / heads)),
        "intermediate_size": max(1, round(share * config.intermediate_size)),
        "num_attention_heads": heads,
    }
    return type(config).from_dict(config.to_dict() | narrower)


def _projection(config: PretrainedConfig, prefix: str = "") -> nn.Module:
    if config.embedding_size == config.hidden_size:
        return nn.Identity()
    return called(Linear(config.embedding_size, config.hidden_size), f"{prefix}embeddings_project")


def _predictor(config: PretrainedConfig, prefix: str = "") -> Predictor:
    """With GELU, whatever the activation of the layers."""
    predictor = Predictor(
        config.hidden_size, config.vocab_size, config.layer_norm_eps, F.gelu, width=config.embedding_size
    )
    called(predictor.dense, f"{prefix}generator_predictions.dense")
    called(predictor.norm, f"{prefix}generator_predictions.LayerNorm")
    return called(predictor, f"{prefix}{Electra.decoder_name}")
