"""What is asked of the GPU's kernel, done by its definition; the kernel itself needs a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertwright.flow import Batch
from bertwright.nn.attention import Layout, attention
from bertwright.nn.local import windowed
from bertwright.nn.varlen import Varlen

MakeBatch = Callable[..., Batch]


def by_definition(query: Tensor, key: Tensor, value: Tensor, asked: Varlen) -> Tensor:
    """As the kernel's documentation has it: the i-th query of a sequence sees keys i - reach to i + reach of it."""
    rows = []
    bounds = zip(asked.queries.tolist(), asked.queries[1:].tolist(), asked.keys.tolist(), asked.keys[1:].tolist())  # noqa: B905
    for first_q, last_q, first_k, last_k in bounds:
        q, k, v = query[first_q:last_q], key[first_k:last_k], value[first_k:last_k]
        assert max(len(q), len(k)) <= asked.longest
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        if asked.reach >= 0:
            far = (torch.arange(len(q))[:, None] - torch.arange(len(k))).abs() > asked.reach
            scores = scores.masked_fill(far, float("-inf"))
        rows.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    return torch.cat(rows)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), reach=st.none() | st.integers(1, 9), data=st.data()
)
def test_it_is_asked_for_what_the_grids_compute(
    make_batch: MakeBatch, lengths: list[int], reach: int | None, data: st.DataObject
) -> None:
    read = st.sets(st.integers(0, sum(lengths) - 1), min_size=1).map(sorted)
    batch = make_batch(lengths, data.draw(st.none() | read))
    layout, asked = Layout.of(batch), Varlen.described(batch)
    if reach is not None:
        layout, asked = windowed(layout, batch, reach), asked.within(reach)
    if batch.reads is not None and reach is not None:
        layout, asked = layout.everywhere, asked.everywhere
    draws = torch.Generator().manual_seed(0)
    key, value, query = (torch.randn(batch.tokens, 2, 4, generator=draws) for _ in range(3))
    query = query if layout.reads is None or batch.reads is None else query[batch.reads]
    assert asked.takes(query.bfloat16(), 0.0)
    torch.testing.assert_close(by_definition(query, key, value, asked), attention(query, key, value, layout, 0.0))


def test_what_the_kernel_cannot_do(make_batch: MakeBatch) -> None:
    whole, some = (Varlen.described(make_batch((5, 3), reads)) for reads in (None, (0, 5)))
    narrow = torch.zeros(8, 2, 4, dtype=torch.bfloat16)
    assert whole.takes(narrow, 0.0)
    assert some.takes(narrow, 0.0)
    assert not whole.takes(narrow, 0.1)
    assert not whole.takes(narrow.float(), 0.0)
    assert not some.within(2).takes(narrow, 0.0)
    assert some.within(2).everywhere.takes(narrow, 0.0)


def test_a_cpu_has_no_such_kernel(make_batch: MakeBatch) -> None:
    assert Layout.of(make_batch((5, 3))).varlen is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel(make_batch: MakeBatch) -> None:
    batch = make_batch((50, 7, 64), (0, 3, 60, 119)).to(torch.device("cuda"))
    layout = Layout.of(batch)
    assert layout.varlen is not None
    key, value, query = (torch.randn(121, 2, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    assert batch.reads is not None
    found = attention(query[batch.reads], key, value, layout, 0.0)
    wide = by_definition(query[batch.reads].float(), key.float(), value.float(), layout.varlen)
    torch.testing.assert_close(found.float(), wide, rtol=2e-2, atol=2e-2)
