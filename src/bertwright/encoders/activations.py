"""Activations by the names that configs give them, as transformers has them."""

from __future__ import annotations

from torch.nn import functional as F
from transformers import PretrainedConfig

from ..errors import RecipeError
from ..nn.layers import Activation


def activation(config: PretrainedConfig, field: str) -> Activation:
    """The one that `field` of a config names. Raises RecipeError for an unknown name."""
    name = getattr(config, field)
    if name == "gelu":
        return F.gelu
    # With these come half of transformers' models and torch's distributed tensors, and a second and a half.
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise RecipeError(f"unknown {field} {name!r}; known are {', '.join(ACT2FN)}")
    return ACT2FN[name]  # type: ignore[no-any-return]
