"""Which number format the products run in, on which device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..errors import RecipeError


def device() -> torch.device:
    """The GPU if there is one, else the CPU. The GPU path has not been measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_is_fast(on: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware.

    oneDNN says yes of every processor with AVX-512, and emulates bf16 on those that lack its instructions.
    """
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    emulated = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not emulated


def resolve(precision: str, on: torch.device) -> str:
    """`bf16` or `fp32`. `auto` and `bf16` are bf16 only where the hardware has it: elsewhere it is slower than fp32.

    Raises RecipeError for another word.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise RecipeError(f"unknown precision {precision!r}; known are auto, bf16, fp32")
    return "bf16" if precision != "fp32" and bf16_is_fast(on) else "fp32"


def products_in(precision: str, on: torch.device) -> AbstractContextManager[object]:
    """The context in which a forward pass runs; weights, norms, softmax and losses stay in fp32."""
    return torch.autocast(on.type, torch.bfloat16) if precision == "bf16" else nullcontext()
