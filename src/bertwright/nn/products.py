"""Attention's products on a CPU, with a gradient of their own.

torch's fused kernel loses more in its backward pass there than it gains in memory, and plain products under autograd
copy queries, keys and values twice each way. By these attention takes 0.7 to 0.9 of the time of those where rows differ
in length, and 0.9 to 1.0 where they do not, to the same numbers but for rounding (benchmarks/attention.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .dropout import ZEROS, kept, scaled
from .grids import Grids, Mask, Masks, Spans

_LANES = 32
"""How many bf16 a register of AVX-512 holds. torch's kernels take what does not fill one number by number."""


def attended(
    query: Tensor, key: Tensor, value: Tensor, queries: Grids, keys: Grids | Spans, masks: Masks, p: float
) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V of `query` [K, h, d], `key` [N, h, d] and `value` [N, h, e] -> [K, h, e].

    `queries` and `keys` say where these stand, as many rows in each of their grids; `masks` say which keys each query
    sees. `p` is the probability of dropping a weight. Under autocast all is in its type.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    whole = _side_by_side(query, key, value) if queries is keys else None
    parts = (query, key, value) if whole is None else (whole,)
    return _Attended.apply(queries, keys, masks, p, query.shape[1], *parts)  # type: ignore[no-any-return]


class _Attended(torch.autograd.Function):
    """Of queries, keys and values; or of all in one, [N, 3h, d], which then gets one gradient."""

    @staticmethod
    def forward(
        ctx: Any, queries: Grids, keys: Grids | Spans, masks: Masks, p: float, heads: int, *parts: Tensor
    ) -> Tensor:
        if len(parts) == 1:
            q, k, v = queries.lines(parts[0], 3).chunk(3)
        else:
            q, (k, v) = queries.lines(parts[0]), (keys.lines(x) for x in parts[1:])
        context = q.new_empty(len(q), v.shape[-1])
        grids = zip(
            *(_by_grid(x, queries, heads) for x in (q, context)), *(_by_grid(x, keys, heads) for x in (k, v)), masks,
            strict=True,
        )  # fmt: skip
        shares: list[Tensor | None] = []
        for q_here, out, k_here, v_here, mask in grids:
            scores = _scores(q_here, k_here, mask, heads)
            weights, keep, dropped = _softmax(scores), None, None
            if p:
                keep = kept(weights.numel(), p).to(weights.dtype).view(weights.shape)
                dropped = scaled(weights, keep, 1 / (1 - p), out=scores)
            torch.bmm(weights if dropped is None else dropped, v_here, out=out)
            shares += [weights, keep, dropped]
        ctx.save_for_backward(q, k, v, *shares)
        ctx.queries, ctx.keys, ctx.heads, ctx.p = queries, keys, heads, p
        ctx.counts = [len(x) for x in parts]
        return queries.vectors(context, heads, len(parts[0]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *shares = ctx.saved_tensors
        queries, keys, heads, p = ctx.queries, ctx.keys, ctx.heads, ctx.p
        whole = q.new_empty(3, *q.shape) if len(ctx.counts) == 1 else None
        of_q, of_k, of_v = [torch.empty_like(x) for x in (q, k, v)] if whole is None else whole
        grids = zip(
            *(_by_grid(x, queries, heads) for x in (q, of_q, queries.lines_once(grads[0]))),
            *(_by_grid(x, keys, heads) for x in (k, of_k, v, of_v)),
            shares[::3], shares[1::3], shares[2::3], strict=True,
        )  # fmt: skip
        for q_here, to_q, grad, k_here, to_k, v_here, to_v, weights, keep, dropped in grids:
            torch.bmm((weights if dropped is None else dropped).transpose(1, 2), grad, out=to_v)
            of_weights = torch.bmm(grad, v_here.transpose(1, 2))
            if keep is not None:
                scaled(of_weights, keep, 1 / (1 - p), out=of_weights)
            of_scores = _of_softmax(of_weights, weights)
            _scaled(of_scores, k_here, k_here.shape[-1], out=to_q)
            _scaled(of_scores.transpose(1, 2), q_here, q_here.shape[-1], out=to_k)
        nothing = (None,) * 5
        if whole is not None:
            return *nothing, queries.vectors(whole.flatten(0, 1), heads, ctx.counts[0], 3)
        number, *seen = ctx.counts
        of_others = [keys.vectors(x, heads, count) for x, count in zip((of_k, of_v), seen, strict=True)]
        return *nothing, queries.vectors(of_q, heads, number), *of_others


def _side_by_side(*parts: Tensor) -> Tensor | None:
    """[N, 3h, d] where the parts [N, h, d] are all there is of it, one after the other, as one product gives them."""
    whole, (count, heads, size) = parts[0]._base, parts[0].shape
    if torch.compiler.is_compiling() or whole is None or whole.shape != (count, 3 * heads * size):
        return None
    for before, part in enumerate(parts):
        if part._base is not whole or part.shape != parts[0].shape or part.stride() != (3 * heads * size, size, 1):
            return None
        if part.storage_offset() != whole.storage_offset() + before * heads * size:
            return None
    return whole.view(count, 3 * heads, size)


def _by_grid(lines: Tensor, grids: Grids | Spans, heads: int) -> Sequence[Tensor]:
    """[P, d] -> a view [rows x h, width, d] for each grid"""
    shapes = [(rows * heads, width) for rows, width in grids.shapes]
    parts = [lines] if len(shapes) == 1 else lines.split([rows * width for rows, width in shapes])
    return [part.view(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]


def _scores(query: Tensor, key: Tensor, mask: Mask | None, heads: int) -> Tensor:
    """[rows x h, queries, keys] Q K^T / sqrt(d), minus infinity where a key is not seen"""
    flipped = key.transpose(1, 2)
    if mask is None:
        return _scaled(query, flipped, query.shape[-1])
    bias = mask.bias(heads, query.dtype)
    if 1 in bias.shape[:2]:
        return torch.baddbmm(bias, query, flipped, alpha=query.shape[-1] ** -0.5)
    scores = _scaled(query, flipped, query.shape[-1])
    return (scores.view(-1, heads, *scores.shape[1:]) + bias[:, None]).flatten(0, 1)


def _scaled(one: Tensor, other: Tensor, size: int, out: Tensor | None = None) -> Tensor:
    """The product of each pair of matrices over the square root of the size of heads."""
    return torch.baddbmm(ZEROS[one.dtype], one, other, beta=0, alpha=size**-0.5, out=out)


def _softmax(scores: Tensor) -> Tensor:
    """Over the last dimension. The kernels sum in fp32 whatever the type of the scores.

    The one for bf16 takes 1.4 to 4 times as long where rows do not fill registers, until they are long.
    """
    width = scores.shape[-1]
    if scores.dtype == torch.bfloat16 and width % _LANES and _LANES / 2 < width < 3 * _LANES:
        return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)
    return scores.softmax(-1)


def _of_softmax(grad: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the scores, by that of the weights: in bf16 the kernel takes 4 times as long below a register."""
    if weights.dtype == torch.bfloat16 and _LANES / 2 <= weights.shape[-1] < _LANES:
        return _softmax_gradient(grad.float(), weights.float()).to(weights.dtype)
    return _softmax_gradient(grad, weights)


def _softmax_gradient(grad: Tensor, weights: Tensor) -> Tensor:
    return torch._softmax_backward_data(grad, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]
