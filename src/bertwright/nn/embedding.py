"""A table of vectors whose values are left to whoever draws or loads them."""

from __future__ import annotations

from torch import nn


class Embedding(nn.Embedding):
    """torch's, without its own draw: where there is no memory yet (`meta`), that brings in torch's compiler, in 2 s."""

    def reset_parameters(self) -> None:
        """Leaves the values as they are."""
