"""What a config has to be for an encoder to be built from it; each check raises RecipeError with one line."""

from __future__ import annotations

from transformers import PretrainedConfig

from ..errors import RecipeError
from .activations import activation


def at_least_one(config: PretrainedConfig, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise RecipeError(f"{name} is {getattr(config, name)}; it has to be at least 1")


def whole_heads(config: PretrainedConfig) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise RecipeError(
            f"hidden_size {config.hidden_size} is not a multiple of num_attention_heads {config.num_attention_heads}"
        )


def probabilities(config: PretrainedConfig, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise RecipeError(f"{name} is {getattr(config, name)}; it is a probability, at least 0 and below 1")


def activations(config: PretrainedConfig, *names: str) -> None:
    for name in names:
        activation(config, name)


def only(config: PretrainedConfig, **expected: object) -> None:
    """Fields that transformers lets vary, and that an encoder here has one way of."""
    for name, value in expected.items():
        if getattr(config, name, value) != value:
            raise RecipeError(f"{name} is {getattr(config, name)!r}; only {value!r} is an encoder of this kind")
