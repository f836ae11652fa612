"""The vocabulary projection and its cross-entropy as one step, which touches the logits as seldom as it can.

On a CPU each pass over M x V numbers takes as long as the product that made them, so there are three: the largest
logit, the softmax, in place, and its largest; the gradient needs only the softmax less one at the targets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .linear import product
from .rounding import rounded

_COLUMNS = 32
"""By how many the columns of a product grow at a time, for its kernels to stay whole."""


class TokenLoss(NamedTuple):
    """What predicting tokens came to."""

    total: Tensor
    """[] what is minimised, with gradient"""
    nats: Tensor
    """[] the cross-entropy in it"""
    correct: Tensor
    """[] how often the most likely token was the right one; a tie counts as half"""
    right: Tensor
    """[M] whether it was: 1, 0, or a half for a tie"""


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
            logits = product(narrow, table, bias.to(dtype))
        places = torch.arange(rows, device=x.device) * logits.shape[1] + targets
        hit, rival = _hit_and_rival(logits[:rows], places)
        right = (hit > rival).float() + 0.5 * (hit == rival)
        correct = right.sum()
        shares = torch.softmax(logits, -1, out=logits)
        normaliser = torch.maximum(hit, rival).to(wide) - _largest(shares[:rows]).to(wide).log()
        nats = (normaliser - hit.to(wide)).sum()
        if any(ctx.needs_input_grad[:3]):
            shares[rows:] = 0
            shares.view(-1)[places] -= 1
            # z-loss adds `pull` times the softmax to the gradient of a row's logits. Those are some thousandths of it,
            # which bf16 would round away here and from x; so they have columns of their own where the gradient meets x.
            pull = 2 * z_loss * normaliser if z_loss else None
            ctx.save_for_backward(shares, narrow, table, targets, pull)
            ctx.rows, ctx.types = rows, (x.dtype, weight.dtype, bias.dtype)
        total = nats + z_loss * normaliser.square().sum() if z_loss else nats.clone()
        ctx.mark_non_differentiable(nats, correct, right)
        return total, nats, correct, right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        shares, narrow, table, targets, pull = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        x_type, weight_type, bias_type = ctx.types
        to_x = to_weight = to_bias = None
        if of_x:
            to_x = product(shares, table.t(), None)[: ctx.rows].to(x_type)
            if pull is not None:
                to_x.mul_(1 + pull[:, None]).add_(pull[:, None] * table[targets])
            to_x.mul_(grads[0])
        if of_weight or of_bias:
            width = narrow.shape[1]
            to_both = shares.t() @ _with_columns(narrow, pull)
            to_weight = to_both[:, :width].to(weight_type)
            to_bias = to_both[:, -_COLUMNS : 2 - _COLUMNS].to(bias_type).sum(1)
            if pull is not None:
                to_weight.add_(to_both[:, width : 2 * width])
                to_weight.index_add_(0, targets, (pull[:, None] * narrow[: ctx.rows]).to(weight_type))
                to_bias.index_add_(0, targets, pull.to(bias_type))
            to_weight.mul_(grads[0])
            to_bias.mul_(grads[0])
        return to_x, to_weight, to_bias, None, None


def _with_columns(x: Tensor, pull: Tensor | None) -> Tensor:
    """[M', H + 32], or [M', 2 H + 32] with `pull` [M]: x [M', H], `pull` times x; columns of ones, `pull` and zeros.

    The bias is a weight on those columns: an eighth more of a product takes a CPU a third of the time of a sum over
    rows of its own.
    """
    columns = x.new_zeros(len(x), _COLUMNS)
    columns[:, 0] = 1
    if pull is None:
        return torch.cat((x, columns), 1)
    rows = len(pull)
    columns[:rows, 1] = pull.to(x.dtype)
    pulled = torch.zeros_like(x)
    pulled[:rows] = pull[:, None] * x[:rows]
    return torch.cat((x, pulled, columns), 1)


def _hit_and_rival(logits: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """[M] the logit at each row's target, which is at `places` [M] of all logits in a row, and the largest elsewhere.

    Through a flat view: torch's scatter copies all M x V logits, which takes as long as the softmax.
    """
    flat = logits.view(-1)
    hit = flat[places]
    flat.index_fill_(0, places, float("-inf"))
    rival = _largest(logits)
    flat.index_copy_(0, places, hit)
    return hit, rival


def _largest(x: Tensor) -> Tensor:
    """[M] the largest number of each row of x [M, V].

    A CPU compares integers seven times as fast as bf16. The bits of numbers above zero are in the order of the numbers,
    and those of the others are negative integers; a row without a number above zero is looked at again.
    """
    if x.device.type != "cpu" or x.dtype != torch.bfloat16:
        return x.amax(-1)
    bits = x.view(torch.int16).amax(-1)
    largest, again = bits.view(torch.bfloat16), bits < 0
    if again.any():
        largest[again] = x[again].amax(-1)
    return largest
