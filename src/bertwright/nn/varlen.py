"""Attention over sequences laid end to end by one kernel that takes them so: FlashAttention, on a GPU.

(Dao, "FlashAttention-2", 2023.) It takes bf16 or fp16 and drops nothing; for the rest there are the grids of
`attention`. It has not been measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..flow import Batch


@dataclass(frozen=True, slots=True)
class Varlen:
    """What the kernel needs to know of a batch. Nothing in it is waited for: the host knows the lengths."""

    queries: Tensor
    """[S+1] int32, where the queries of each sequence begin"""
    keys: Tensor
    """[S+1] int32, the same of the keys"""
    longest: int
    reach: int = -1
    """How far a query sees on either side; -1: all of its sequence."""

    @classmethod
    def of(cls, batch: Batch) -> Varlen | None:
        """None on a CPU, which has no such kernel."""
        return None if batch.ids.device.type != "cuda" else cls.described(batch)

    @classmethod
    def described(cls, batch: Batch) -> Varlen:
        """What would be asked of the kernel, on any device."""
        keys = batch.cu_seqlens.to(torch.int32)
        if batch.reads is None:
            return cls(keys, keys, max(batch.lengths))
        return cls(torch.searchsorted(batch.reads, batch.cu_seqlens).to(torch.int32), keys, max(batch.lengths))

    @property
    def everywhere(self) -> Varlen:
        """The same with queries at all tokens."""
        return replace(self, queries=self.keys)

    def within(self, reach: int) -> Varlen:
        """The same for queries that see `reach` tokens on either side."""
        return replace(self, reach=reach)

    def takes(self, query: Tensor, p: float) -> bool:
        """Whether the kernel can do it: in a window it would take queries at some tokens only for neighbours."""
        apart = self.queries is not self.keys and self.reach >= 0
        return p == 0 and not apart and query.dtype in (torch.bfloat16, torch.float16)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[R, h, d], [N, h, d], [N, h, d] -> [R, h, d]"""
        from torch.nn.attention.varlen import varlen_attn  # Brings torch's compiler: 2 s that a CPU need not wait.

        window = (self.reach, self.reach)
        return varlen_attn(  # type: ignore[return-value]
            query, key, value, self.queries, self.keys, self.longest, self.longest, window_size=window
        )
