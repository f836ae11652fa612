from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from bertwright.flow import Batch
from bertwright.nn.attention import Layout
from bertwright.nn.layers import PostNormLayer, PreNormLayer
from bertwright.nn.rotation import Rotation

MakeBatch = Callable[..., Batch]


@pytest.fixture
def layer() -> PostNormLayer:
    torch.manual_seed(0)
    return PostNormLayer(hidden=8, heads=2, intermediate=12, eps=1e-12, activation=F.gelu).double()


@pytest.mark.parametrize(("lengths", "reads"), [((4, 4), (0, 3, 4, 5)), ((4, 1, 6), (0, 4, 6, 10))])
def test_reads_are_the_same_rows(
    layer: PostNormLayer, make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...]
) -> None:
    batch = make_batch(lengths, reads)
    hidden = torch.randn(batch.tokens, 8, dtype=torch.float64)
    layout = Layout.of(batch)
    whole, some = layer(hidden, layout, None), layer(hidden, layout, batch.reads)
    torch.testing.assert_close(some, whole[list(reads)])


def test_one_token_is_its_own_value(layer: PostNormLayer, make_batch: MakeBatch) -> None:
    """A sequence of one token attends to itself alone, so the layer can be written down without attention."""
    batch = make_batch((1, 1, 1))
    hidden = torch.randn(3, 8, dtype=torch.float64)
    attended = layer.attention_norm(hidden + layer.attention_output(layer.value(hidden)))
    expected = layer.output_norm(attended + layer.output(F.gelu(layer.intermediate(attended))))
    torch.testing.assert_close(layer(hidden, Layout.of(batch), None), expected)


def test_outside_training_nothing_is_dropped(layer: PostNormLayer, make_batch: MakeBatch) -> None:
    batch = make_batch((5, 5))
    hidden, layout = torch.randn(10, 8, dtype=torch.float64), Layout.of(batch)
    calm = layer(hidden, layout, None)
    layer.dropout.p = layer.attention_dropout.p = 0.5
    torch.testing.assert_close(layer.eval()(hidden, layout, None), calm)


@pytest.fixture
def modern() -> PreNormLayer:
    torch.manual_seed(0)
    return PreNormLayer(hidden=8, heads=2, intermediate=12, eps=1e-5, activation=F.gelu).double()


def rotation(batch: Batch) -> Rotation:
    return Rotation.of(batch.positions, max(batch.lengths), 4, 10.0)


@pytest.mark.parametrize(("lengths", "reads"), [((4, 4), (0, 3, 4, 5)), ((4, 1, 6), (0, 4, 6, 10))])
def test_reads_of_a_layer_that_normalises_before(
    modern: PreNormLayer, make_batch: MakeBatch, lengths: tuple[int, ...], reads: tuple[int, ...]
) -> None:
    batch = make_batch(lengths, reads)
    hidden, layout = torch.randn(batch.tokens, 8, dtype=torch.float64), Layout.of(batch)
    whole, some = (modern(hidden, layout, rotation(batch), asked) for asked in (None, batch.reads))
    torch.testing.assert_close(some, whole[list(reads)])


def test_one_token_of_a_layer_that_normalises_before(modern: PreNormLayer, make_batch: MakeBatch) -> None:
    batch = make_batch((1, 1, 1))
    hidden = torch.randn(3, 8, dtype=torch.float64)
    value = F.linear(modern.attention_norm(hidden), modern.query_key_value.weight[16:])
    attended = hidden + modern.attention_output(value)
    entered, gate = modern.input_and_gate(modern.forward_norm(attended)).chunk(2, 1)
    expected = attended + modern.output(F.gelu(entered) * gate)
    torch.testing.assert_close(modern(hidden, Layout.of(batch), rotation(batch), None), expected)
    modern.output_norm = torch.nn.LayerNorm(8).double()
    torch.testing.assert_close(modern(hidden, Layout.of(batch), rotation(batch), None), modern.output_norm(expected))


def test_outside_training_nothing_is_dropped_before(modern: PreNormLayer, make_batch: MakeBatch) -> None:
    batch = make_batch((5, 5))
    hidden, layout, turn = torch.randn(10, 8, dtype=torch.float64), Layout.of(batch), rotation(batch)
    calm = modern(hidden, layout, turn, None)
    modern.dropout.p = modern.attention_dropout.p = 0.5
    torch.testing.assert_close(modern.eval()(hidden, layout, turn, None), calm)


EVERYTHING = 1 - 2**-16
"""The largest share that can be dropped: one number of 65,536 is kept."""


def test_what_each_dropout_drops(layer: PostNormLayer, make_batch: MakeBatch) -> None:
    """With nearly everything dropped what is left of a layer can be written down."""
    batch = make_batch((5, 5))
    hidden, layout = torch.randn(10, 8, dtype=torch.float64), Layout.of(batch)
    torch.manual_seed(0)
    layer.dropout.p = EVERYTHING
    torch.testing.assert_close(layer(hidden, layout, None), layer.output_norm(layer.attention_norm(hidden)))
    layer.dropout.p, layer.attention_dropout.p = 0.0, EVERYTHING
    attended = layer.attention_norm(hidden + layer.attention_output.bias)
    expected = layer.output_norm(attended + layer.output(F.gelu(layer.intermediate(attended))))
    torch.testing.assert_close(layer(hidden, layout, None), expected)


def test_what_each_dropout_of_a_layer_that_normalises_before_drops(modern: PreNormLayer, make_batch: MakeBatch) -> None:
    """As transformers' ModernBERT: attention's share also from what attention adds, the other's inside of the gate."""
    batch = make_batch((40, 40))
    hidden, layout, turn = torch.randn(80, 8, dtype=torch.float64), Layout.of(batch), rotation(batch)
    torch.manual_seed(0)
    modern.dropout.p = EVERYTHING
    attended = modern(hidden, layout, turn, None)
    modern.dropout.p = 0.5
    assert (modern(hidden, layout, turn, None) - attended).all()
    modern.dropout.p, modern.attention_dropout.p = EVERYTHING, 0.5
    added = modern(hidden, layout, turn, None) - hidden
    assert float((added == 0).double().mean()) == pytest.approx(0.5, abs=0.1)
