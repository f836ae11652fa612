"""ModernBERT: rotary positions, gated layers that normalise before, and attention that is mostly local.

(Warner et al., "Smarter, better, faster, longer", 2024)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from transformers import ModernBertConfig, PretrainedConfig

from ..errors import RecipeError
from ..flow import Batch
from ..nn.attention import Layout
from ..nn.causal import causal
from ..nn.dropout import Dropout
from ..nn.embedding import Embedding
from ..nn.heads import NormPooler, Predictor
from ..nn.layers import PreNormLayer
from ..nn.local import windowed
from ..nn.norm import Norm
from ..nn.rotation import Rotation
from . import checking
from .activations import activation
from .base import Encoder, as_tied
from .laws import Spread
from .naming import called
from .sizes import Size

GLOBAL, LOCAL = "full_attention", "sliding_attention"


class Modern(Encoder):
    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    base_prefix = "model"
    words_name = "embeddings.tok_embeddings.weight"
    decoder_name = "decoder"
    spans_name = "classifier"
    stacked: ClassVar[Mapping[str, int]] = {"attn.Wqkv.weight": 3, "mlp.Wi.weight": 2}
    inputs = ("input_ids", "attention_mask")
    poolings = ("cls", "mean")
    token_fields: ClassVar[Mapping[str, str]] = {
        "pad_token_id": "pad",
        "bos_token_id": "cls",
        "cls_token_id": "cls",
        "eos_token_id": "sep",
        "sep_token_id": "sep",
    }

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        _check(config)
        self.config = as_tied(config)
        self.words = called(Embedding(config.vocab_size, config.hidden_size), "embeddings.tok_embeddings")
        self.norm = called(_norm(config), "embeddings.norm")
        self.dropout = Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(_layer(config, index) for index in range(config.num_hidden_layers))

    @classmethod
    def sized(cls, size: Size, vocab_size: int) -> ModernBertConfig:
        """As wide and deep as BERT of that size, with about as many weights in a layer.

        Positions and their angles are those of the first phase of the paper's training, at 1,024 tokens.
        """
        rotary = {"rope_type": "default", "rope_theta": 10_000.0}
        return ModernBertConfig(
            vocab_size=vocab_size,
            hidden_size=size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=64 * round(size.hidden / 24),
            max_position_embeddings=1024,
            rope_parameters={GLOBAL: dict(rotary), LOCAL: dict(rotary)},
            pad_token_id=0,
            bos_token_id=2,
            cls_token_id=2,
            eos_token_id=3,
            sep_token_id=3,
        )

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.words

    def encode(self, batch: Batch) -> Tensor:
        whole = causal(Layout.of(batch), batch)
        layouts = {GLOBAL: whole, LOCAL: windowed(whole, batch, self.config.local_attention // 2)}
        rotations = {kind: self._rotation(kind, batch) for kind in dict.fromkeys(self.config.layer_types)}
        hidden = self.dropout(self.norm(self.words(batch.ids)))
        last = len(self.layers) - 1
        for index, (layer, kind) in enumerate(zip(self.layers, self.config.layer_types, strict=True)):
            hidden = layer(hidden, layouts[kind], rotations[kind], batch.reads if index == last else None)
        return hidden

    def _rotation(self, kind: str, batch: Batch) -> Rotation:
        width = self.config.hidden_size // self.config.num_attention_heads
        return Rotation.of(batch.positions, max(batch.lengths), width, self.config.rope_parameters[kind]["rope_theta"])

    def set_pooling(self, pooling: str) -> None:
        super().set_pooling(pooling)
        self.config.classifier_pooling = pooling

    def pooler(self) -> NormPooler:
        """transformers' own before a classifier, which goes on from the predictor's inner part, under its names."""
        return self._pooler("head")

    def token_pooler(self) -> NormPooler:
        return self.pooler()

    def pair_pooler(self) -> NormPooler:
        """Of its own name: transformers has no such model."""
        return self._pooler("pooler")

    def _pooler(self, name: str) -> NormPooler:
        config = self.config
        pooler = NormPooler(config.hidden_size, config.norm_eps, activation(config, "classifier_activation"))
        called(pooler.dense, f"{name}.dense")
        called(pooler.norm, f"{name}.norm")
        return pooler

    def predictor(self) -> Predictor:
        config = self.config
        between = activation(config, "classifier_activation")
        predictor = Predictor(config.hidden_size, config.vocab_size, config.norm_eps, between, inner_biases=False)
        called(predictor.dense, "head.dense")
        called(predictor.norm, "head.norm")
        return called(predictor, self.decoder_name)

    @property
    def head_dropout(self) -> float:
        return self.config.classifier_dropout

    def spread(self, name: str) -> Spread:
        """As transformers draws: narrower what adds to the residual stream, the deeper the encoder."""
        config = self.config
        deviation = config.initializer_range
        if name.endswith(("attn.Wo.weight", "mlp.Wo.weight", "head.dense.weight", "pooler.dense.weight")):
            deviation /= (2 * config.num_hidden_layers) ** 0.5
        elif name.startswith(("classifier.", "cls.")):
            deviation = config.hidden_size**-0.5
        cut = config.initializer_cutoff_factor
        return Spread(deviation, 3.0 if cut is None else cut)


def _layer(config: PretrainedConfig, index: int) -> PreNormLayer:
    layer = PreNormLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.norm_eps,
        activation(config, "hidden_activation"),
    )
    layer.dropout.p = config.mlp_dropout
    layer.attention_dropout.p = config.attention_dropout
    parts = {
        "attn_norm": layer.attention_norm,
        "attn.Wqkv": layer.query_key_value,
        "attn.Wo": layer.attention_output,
        "mlp_norm": layer.forward_norm,
        "mlp.Wi": layer.input_and_gate,
        "mlp.Wo": layer.output,
    }
    for name, part in parts.items():
        called(part, f"layers.{index}.{name}")
    if index == 0:
        layer.attention_norm = nn.Identity()
    if index == config.num_hidden_layers - 1:
        layer.output_norm = called(_norm(config), "final_norm")
    return layer


def _norm(config: PretrainedConfig) -> Norm:
    return Norm(config.hidden_size, config.norm_eps, bias=False)


def _check(config: PretrainedConfig) -> None:
    """Raises RecipeError for a config that ModernBERT cannot be built from."""
    checking.at_least_one(
        config, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings",
    )  # fmt: skip
    checking.whole_heads(config)
    checking.probabilities(config, "embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout")
    checking.activations(config, "hidden_activation", "classifier_activation")
    checking.only(
        config, norm_bias=False, attention_bias=False, mlp_bias=False, classifier_bias=False, decoder_bias=True
    )
    if config.hidden_size // config.num_attention_heads % 2:
        raise RecipeError(
            f"heads are {config.hidden_size // config.num_attention_heads} wide (hidden_size / num_attention_heads); "
            "rotary positions need an even width"
        )
    if config.local_attention < 2:
        raise RecipeError(f"local_attention is {config.local_attention}; it has to be at least 2")
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise RecipeError(f"pad_token_id is {config.pad_token_id}, which is not in a vocabulary of {config.vocab_size}")
    _check_layer_types(config)


def _check_layer_types(config: PretrainedConfig) -> None:
    kinds = config.layer_types
    if len(kinds) != config.num_hidden_layers or not {*kinds} <= {GLOBAL, LOCAL}:
        raise RecipeError(
            f"layer_types is {kinds}; it has to name each of the {config.num_hidden_layers} layers, "
            f"as {GLOBAL!r} or {LOCAL!r}"
        )
    for kind in {*kinds}:
        if (found := config.rope_parameters[kind].get("rope_type", "default")) != "default":
            raise RecipeError(f"the rope_type of {kind} is {found!r}; only 'default' is supported")
