"""Number formats."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from bertwright.errors import RecipeError
from bertwright.train.precision import bf16_is_fast, products_in, resolve

CPU = torch.device("cpu")


def test_fp32_is_taken_where_it_is_asked_for() -> None:
    assert resolve("fp32", CPU) == "fp32"


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_bf16_is_taken_where_the_hardware_has_it(precision: str) -> None:
    assert resolve(precision, CPU) == ("bf16" if bf16_is_fast(CPU) else "fp32")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors name their instructions otherwise")
def test_hardware_that_has_it_has_instructions_for_it() -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert not bf16_is_fast(CPU) or {"avx512_bf16", "amx_bf16", "avx_ne_convert"} & {*flags}


@pytest.mark.parametrize("precision", ["fp16", "", "BF16"])
def test_another_word_is_refused(precision: str) -> None:
    with pytest.raises(RecipeError, match=f"unknown precision '{precision}'; known are auto, bf16, fp32"):
        resolve(precision, CPU)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_run_in_it(precision: str, dtype: torch.dtype) -> None:
    a = torch.ones(2, 2)
    with products_in(precision, CPU):
        assert (a @ a).dtype == dtype
        assert torch.nn.functional.layer_norm(a, (2,)).dtype == torch.float32
    assert (a @ a).dtype == torch.float32
