"""Layer norm that reads and writes no more than the products around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.LayerNorm):
    """Layer norm (Ba et al. 2016); under autocast on a CPU from and to its type, with statistics in fp32.

    What leaves it goes into products of that type in any case. For a CPU, which adds, normalises and casts no faster
    than it reads memory, numbers half as wide are half of the time.
    """

    def forward(self, input: Tensor) -> Tensor:
        where = input.device.type
        if where == "cpu" and torch.is_autocast_enabled(where):
            input = input.to(torch.get_autocast_dtype(where))
        return super().forward(input)
