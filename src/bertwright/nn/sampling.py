"""Drawing tokens by their logits with draws that are given, so that what comes out is a function of these."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def sampled(logits: Tensor, draws: Tensor) -> Tensor:
    """[M] one of V for each row of logits [M, V]: where the running sum of its softmax passes the draw [M] in [0, 1).

    A draw is met by the same token however many rows are drawn together, but for rounding where two tokens meet.
    """
    passed = torch.softmax(logits.float(), -1).cumsum(-1)
    at = draws.to(passed.dtype) * passed[:, -1]
    return torch.searchsorted(passed, at[:, None], right=True).squeeze(1).clamp(max=logits.shape[1] - 1)
