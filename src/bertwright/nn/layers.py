"""Transformer layers over sequences laid end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .attention import Layout, attention
from .dropout import Dropout
from .linear import Linear, linear
from .norm import Norm
from .rotation import Rotation

Activation = Callable[[Tensor], Tensor]


class PostNormLayer(nn.Module):
    """The layer of the first transformer and of BERT: each sublayer's output is added, then normalised.

    (Vaswani et al. 2017; Devlin et al., "BERT", 2018)
    """

    def __init__(self, hidden: int, heads: int, intermediate: int, eps: float, activation: Activation) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(hidden, hidden)
        self.key = Linear(hidden, hidden)
        self.value = Linear(hidden, hidden)
        self.attention_output = Linear(hidden, hidden)
        self.attention_norm = Norm(hidden, eps)
        self.intermediate = Linear(hidden, intermediate)
        self.output = Linear(intermediate, hidden)
        self.output_norm = Norm(hidden, eps)
        self.dropout = Dropout()
        self.attention_dropout = Dropout()
        self.activation = activation

    def forward(self, hidden: Tensor, layout: Layout, reads: Tensor | None) -> Tensor:
        """[N, H] -> [N, H]; or [R, H] at the tokens `reads` (`layout` has them too), the same rows of the whole.

        Keys and values are computed for all tokens in either case, everything else only where it is read.
        """
        query, key, value = self._query_key_value(hidden, reads)
        here = layout.everywhere if reads is None else layout
        context = attention(query, key, value, here, self.attention_dropout.active).flatten(1)
        residual = hidden if reads is None else hidden[reads]
        attended = self.attention_norm(self.dropout(self.attention_output(context), onto=residual))
        forwarded = self.output(self.activation(self.intermediate(attended)))
        return self.output_norm(self.dropout(forwarded, onto=attended))

    def looks(self, hidden: Tensor, layout: Layout, marks: Tensor) -> Tensor:
        """[N, h, K] how much attention each of N tokens gives to those of its sequence with `marks` [N, K]."""
        query, key, _ = self._query_key_value(hidden, None)
        return _looks(query, key, layout, marks)

    def _query_key_value(self, hidden: Tensor, reads: Tensor | None) -> tuple[Tensor, ...]:
        """[N or R, h, d], [N, h, d], [N, h, d], in as few matrix products as the reads allow."""
        if reads is None:
            parts = _together(hidden, self.query, self.key, self.value)
        else:
            parts = (self.query(hidden[reads]), *_together(hidden, self.key, self.value))
        return tuple(x.unflatten(1, (self.heads, -1)) for x in parts)


class PreNormLayer(nn.Module):
    """ModernBERT's layer: each sublayer reads what is normalised and adds to what is not; no biases.

    Positions are rotary, and the feed-forward layer is gated. (Xiong et al., "On layer normalization in the
    transformer architecture", 2020; Shazeer, "GLU variants improve transformer", 2020; Warner et al., "Smarter, better,
    faster, longer", 2024)
    """

    def __init__(self, hidden: int, heads: int, intermediate: int, eps: float, activation: Activation) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm: nn.Module = Norm(hidden, eps, bias=False)
        self.query_key_value = Linear(hidden, 3 * hidden, bias=False)
        self.attention_output = Linear(hidden, hidden, bias=False)
        self.forward_norm = Norm(hidden, eps, bias=False)
        self.input_and_gate = Linear(hidden, 2 * intermediate, bias=False)
        self.output = Linear(intermediate, hidden, bias=False)
        self.output_norm: nn.Module = nn.Identity()
        """For the last layer of a stack: what leaves it is normalised too."""
        self.dropout = Dropout()
        self.attention_dropout = Dropout()
        self.activation = activation

    def forward(self, hidden: Tensor, layout: Layout, rotation: Rotation, reads: Tensor | None) -> Tensor:
        """[N, H] -> [N, H]; or [R, H] at the tokens `reads` (`layout` has them too), the same rows of the whole.

        Keys and values are computed for all tokens in either case, everything else only where it is read.
        """
        query, key, value = self._query_key_value(self.attention_norm(hidden), rotation, reads)
        here = layout.everywhere if reads is None else layout
        context = attention(query, key, value, here, self.attention_dropout.active).flatten(1)
        residual = hidden if reads is None else hidden[reads]
        attended = self.attention_dropout(self.attention_output(context), onto=residual)
        return self.output_norm(attended + self._forwarded(self.forward_norm(attended)))

    def looks(self, hidden: Tensor, layout: Layout, rotation: Rotation, marks: Tensor) -> Tensor:
        """[N, h, K] how much attention each of N tokens gives to those of its sequence with `marks` [N, K]."""
        query, key, _ = self._query_key_value(self.attention_norm(hidden), rotation, None)
        return _looks(query, key, layout, marks)

    def _forwarded(self, x: Tensor) -> Tensor:
        # Two products, not the halves of one: working on every second row of memory costs a CPU more than that saves.
        for_input, for_gate = self.input_and_gate.weight.chunk(2)
        gated = self.activation(linear(x, for_input, None)) * linear(x, for_gate, None)
        return self.output(self.dropout(gated))

    def _query_key_value(self, x: Tensor, rotation: Rotation, reads: Tensor | None) -> tuple[Tensor, ...]:
        """[N or R, h, d], [N, h, d], [N, h, d], queries and keys turned."""
        size = self.heads, -1
        if reads is None:
            both, value = self.query_key_value(x).split((2 * x.shape[1], x.shape[1]), 1)
            query, key = rotation(both.unflatten(1, (2 * self.heads, -1))).chunk(2, 1)
            return query, key, value.unflatten(1, size)
        for_query, for_others = self.query_key_value.weight.split((x.shape[1], 2 * x.shape[1]))
        query = linear(x[reads], for_query, None).unflatten(1, size)
        key, value = linear(x, for_others, None).unflatten(1, (2 * self.heads, -1)).chunk(2, 1)
        return rotation.at(reads)(query), rotation(key), value


def _looks(query: Tensor, key: Tensor, layout: Layout, marks: Tensor) -> Tensor:
    """Attention that takes marks for values: what it makes of a one-hot mark is the weight that it gives it."""
    value = marks.to(query.dtype)[:, None].expand(-1, query.shape[1], -1)
    return attention(query, key, value, replace(layout.everywhere, varlen=None), 0.0)


def _together(x: Tensor, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """Several linear maps of the same input as one product."""
    weight = torch.cat([one.weight for one in linears])
    bias = torch.cat([one.bias for one in linears])
    return linear(x, weight, bias).chunk(len(linears), 1)
