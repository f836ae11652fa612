"""The law `local`: heads that look at a neighbour from the first step, in what is plain BERT otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import pi
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from bertwright.encoders import laws
from bertwright.encoders.base import Encoder, hf_names
from bertwright.encoders.exchange import save
from bertwright.encoders.laws import local
from bertwright.encoders.neighbours import Neighbours
from bertwright.encoders.sizes import SIZES
from bertwright.flow import Batch

LENGTH = 128


def shaped(size: str, layers: int) -> BertConfig:
    """A size's width and heads; in few layers, so that it is quick."""
    named = SIZES[size]
    return BertConfig(
        vocab_size=500,
        hidden_size=named.hidden,
        num_hidden_layers=layers,
        num_attention_heads=named.heads,
        intermediate_size=named.intermediate,
    )


def weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: encoder.get_parameter(own).detach() for own, name in hf_names(encoder).items()}


def attention_of(encoder: Encoder, folder: Path, length: int = LENGTH, second: int = 0) -> list[Tensor]:
    """[4, h, L, L] of each layer, in transformers' own model of the checkpoint, on random tokens.

    Their last `second` are of the second segment.
    """
    own = weights(encoder)
    save(folder, encoder.config, own, "BertModel")
    theirs = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
    assert theirs.state_dict().keys() == own.keys()
    assert all(torch.equal(x, own[name]) for name, x in theirs.state_dict().items())
    ids = torch.randint(5, encoder.config.vocab_size, (4, length), generator=torch.Generator().manual_seed(2))
    segments = (torch.arange(length) >= length - second).long().expand(4, -1)
    with torch.no_grad():
        return list(theirs(input_ids=ids, token_type_ids=segments, output_attentions=True).attentions)


def at(offset: int, attention: Tensor) -> float:
    """How much of the attention of a head, [4, L, L], lies at its tokens' neighbour at `offset`, where there is one."""
    return attention.diagonal(offset, 1, 2).mean().item()


@pytest.mark.parametrize(("second", "least"), [(0, 0.8), (LENGTH // 2, 0.6)])
@pytest.mark.parametrize("size", ["tiny", "mini", "small", "base"])
def test_heads_look_at_their_neighbours(size: str, second: int, least: float, tmp_path: Path) -> None:
    encoder = Encoder.from_config(shaped(size, 1), seed=3, init="local")
    attention = attention_of(encoder, tmp_path, second=second)[0]
    offsets = Neighbours().offsets
    for head, offset in enumerate(offsets[: attention.shape[1]]):
        there = {o: at(o, attention[:, head]) for o in range(-5, 6)}
        assert there[offset] > least, (size, head)
        assert max(value for o, value in there.items() if o != offset) < 0.05, (size, head)
    for head in range(len(offsets), attention.shape[1]):
        assert attention[:, head].max() < 0.1, "a head beyond the offsets is as random as ever"


def test_two_layers_of_them(tmp_path: Path) -> None:
    encoder = Encoder.from_config(shaped("mini", 3), seed=3)
    encoder.draw(3, partial(local, neighbours=Neighbours(layers=2, offsets=(3, -1), share=0.5)))
    first, second, third = attention_of(encoder, tmp_path)
    for attention in (first, second):
        assert at(3, attention[:, 0]) > 0.7
        assert at(-1, attention[:, 1]) > 0.7
        assert attention[:, 2:].max() < 0.1
    assert third.max() < 0.1


def test_the_length_of_the_table_is_told_apart(tmp_path: Path) -> None:
    encoder = Encoder.from_config(shaped("mini", 1), seed=3, init="local")
    attention = attention_of(encoder, tmp_path, length=512)[0]
    for head, offset in enumerate(Neighbours().offsets):
        assert at(offset, attention[:, head]) > 0.5


def scores_of(layers: int) -> set[str]:
    """The tensors of the first layers that decide where they look."""
    sides = ("query", "key")
    return {f"encoder.layer.{layer}.attention.self.{side}.weight" for layer in range(layers) for side in sides}


def test_the_rest_is_as_in_the_paper() -> None:
    config = shaped("small", 3)
    paper, ours = (weights(Encoder.from_config(config, seed=5, init=law)) for law in ("paper", "local"))
    again, other = (weights(Encoder.from_config(config, seed=seed, init="local")) for seed in (5, 6))
    scored = scores_of(Neighbours().layers)
    changed = {name for name in paper if not torch.equal(paper[name], ours[name])}
    assert changed == {"embeddings.position_embeddings.weight", *scored}
    heads = len(Neighbours().offsets)
    for name in scored:
        assert torch.equal(paper[name][heads * 64 :], ours[name][heads * 64 :])
        assert torch.equal(paper[name][:, 64:], ours[name][:, 64:]), "only what reads the fastest pairs is added to"
        assert not torch.equal(ours[name], other[name])
    assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_the_table_of_positions() -> None:
    drawn = weights(Encoder.from_config("mini", vocab_size=100, init="local", initializer_range=0.1))
    table = drawn["embeddings.position_embeddings.weight"]
    norms = table.norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 0.15 * 128**0.5))
    words = drawn["embeddings.word_embeddings.weight"].norm(dim=1).mean()
    assert 1 < norms[0] / words < 1.5
    torch.testing.assert_close(table[:, 1], 0.15 * (1 - 2.0 * (torch.arange(512) % 2)))
    slowest = 0.15 * torch.cos(torch.arange(512) * pi / 512)
    torch.testing.assert_close(table[:, -1], slowest)


def test_the_lead_of_the_neighbour() -> None:
    """What the file says of the numbers: the score of positions alone, behind the LayerNorm of the sum."""
    neighbours, width = Neighbours(), 64
    table = neighbours.table(512, 256, width)[:, :width]
    amplitude = (1.5**2 / (2 * 0.8796**2 + 1.5**2 / 2)) ** 0.5
    assert amplitude**2 == pytest.approx(0.84, abs=0.005)
    place = neighbours.gain * amplitude * table
    for offset in neighbours.offsets:
        scores = place @ neighbours.turn(width, 0).T @ (place @ neighbours.turn(width, offset).T).T / width**0.5
        inner = scores[2:-2].clone()
        rows = torch.arange(2, 510)
        assert torch.equal(inner.argmax(1), rows + offset)
        own = inner[torch.arange(508), rows + offset]
        torch.testing.assert_close(own, torch.full_like(own, 13.5), atol=0.05, rtol=0)
        inner[torch.arange(508), rows + offset] = 0
        assert inner.max() < 0.4 * 13.5


def test_a_checkpoint_is_plain_bert(
    make_batch: Callable[..., Batch], padded: Callable[[Batch], dict[str, Tensor]], tmp_path: Path
) -> None:
    encoder = Encoder.from_config(shaped("tiny", 2), seed=3, init="local").eval()
    save(tmp_path, encoder.config, weights(encoder), "BertModel")
    theirs = BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    batch = make_batch([40, 7, 90])
    with torch.no_grad():
        hidden = theirs(**padded(batch)).last_hidden_state
        expected = torch.cat([row[:length] for row, length in zip(hidden, batch.lengths, strict=True)])
        torch.testing.assert_close(encoder(batch), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 1},
        {"hidden_size": 30, "num_attention_heads": 5},
        {"hidden_size": 33, "num_attention_heads": 3},
        {"hidden_size": 31, "num_attention_heads": 31},
        {"hidden_size": 6, "num_attention_heads": 3},
        {"max_position_embeddings": 2},
        {"max_position_embeddings": 1},
        {"num_hidden_layers": 1},
    ],
)
def test_odd_shapes(config: BertConfig, changes: dict[str, float], make_batch: Callable[..., Batch]) -> None:
    for name, value in changes.items():
        setattr(config, name, value)
    paper, ours = (weights(Encoder.from_config(config, seed=1, init=law)) for law in ("paper", "local"))
    assert all(x.isfinite().all() for x in ours.values())
    differ = {name for name in paper if not torch.equal(paper[name], ours[name])}
    scored = scores_of(min(Neighbours().layers, config.num_hidden_layers))
    narrow = config.hidden_size == config.num_attention_heads
    assert differ - {"embeddings.position_embeddings.weight"} == (set() if narrow else scored)
    encoder = Encoder.from_config(config, seed=1, init="local").eval()
    length = config.max_position_embeddings
    assert encoder(make_batch([length, 1])).isfinite().all()


def test_rotary_positions_need_no_such_law() -> None:
    paper, ours = (
        weights(Encoder.from_config("tiny", vocab_size=60, arch="modern", init=i)) for i in ("paper", "local")
    )
    assert all(torch.equal(paper[name], ours[name]) for name in paper)


def test_heads_are_drawn_as_in_the_paper() -> None:
    encoder = Encoder.from_config("tiny", vocab_size=60)
    one, other = encoder.predictor(), encoder.predictor()
    encoder.draw_head(one, 1, "paper")
    encoder.draw_head(other, 1, "local")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert laws.warning("local") is None
