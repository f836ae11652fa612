"""The vocabulary projection and its cross-entropy as one step, which touches the logits as seldom as it can.

On a CPU each pass over M x V numbers takes longer than the matrix product that made them, so there are two: the largest
logit, and the softmax, in place; the gradient needs only the softmax less one at the targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .rounding import rounded


class TokenLoss(NamedTuple):
    """What predicting tokens came to."""

    total: Tensor
    """[] what is minimised, with gradient"""
    nats: Tensor
    """[] the cross-entropy in it"""
    correct: Tensor
    """[] how often the most likely token was the right one"""
    right: Tensor
    """[M] where it was"""


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, z_loss: float = 0.0) -> TokenLoss:
    """Cross-entropy of softmax(x W^T + b), summed over the rows of x [M, H]; W is [V, H], b [V], targets [M].

    `z_loss` times the square of each row's log-sum-exp is added, which keeps logits from drifting (Chowdhery et al.,
    "PaLM", 2022). Under autocast products and logits are in its type; sums are in fp32. The normaliser is taken from
    the largest probability: in bf16 that adds at most 0.002 to a token's loss, less than the rounding of its logits.
    """
    return TokenLoss(*_LinearCrossEntropy.apply(x, weight, bias, targets, z_loss))  # type: ignore[misc]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, z_loss: float
    ) -> tuple[Tensor, ...]:
        where = x.device.type
        dtype = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else x.dtype
        wide = torch.promote_types(dtype, torch.float32)
        rows = len(targets)
        if where == "cpu":
            x = F.pad(x, (0, 0, 0, rounded(rows) - rows))
        narrow, table = x.to(dtype), weight.to(dtype)
        with torch.autocast(where, enabled=False):
            logits = F.linear(narrow, table, bias.to(dtype))
        # `max` and not `argmax`, which takes a CPU more than twice as long to say the same.
        largest, said = logits[:rows].max(-1)
        hit = logits[:rows].gather(1, targets[:, None]).squeeze(1).to(wide)
        shares = torch.softmax(logits, -1, out=logits)
        share = shares[:rows].gather(1, said[:, None]).squeeze(1).to(wide)
        normaliser = largest.to(wide) - share.log()
        nats, right = (normaliser - hit).sum(), said == targets
        correct = right.sum()
        if any(ctx.needs_input_grad[:3]):
            shares[rows:] = 0
            if z_loss:
                shares[:rows] *= (1 + 2 * z_loss * normaliser)[:, None].to(dtype)
            shares[torch.arange(rows, device=x.device), targets] -= 1
            ctx.save_for_backward(shares, narrow, table)
            ctx.rows, ctx.types = rows, (x.dtype, weight.dtype, bias.dtype)
        total = nats + z_loss * normaliser.square().sum() if z_loss else nats.clone()
        ctx.mark_non_differentiable(nats, correct, right)
        return total, nats, correct, right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        shares, narrow, table = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        x_type, weight_type, bias_type = ctx.types
        to_x = (shares @ table)[: ctx.rows].to(x_type).mul_(grads[0]) if of_x else None
        to_weight = (shares.t() @ narrow).to(weight_type).mul_(grads[0]) if of_weight else None
        # As a product, which a CPU does three times as fast as a sum over rows.
        to_bias = (shares.new_ones(len(shares)) @ shares).to(bias_type).mul_(grads[0]) if of_bias else None
        return to_x, to_weight, to_bias, None, None
