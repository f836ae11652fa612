from __future__ import annotations

import pytest
from torch import nn
from transformers import BertConfig, BertForPreTraining

from bertwright.encoders.base import Encoder, called, hf_names


def test_every_parameter_has_the_name_that_transformers_gives_it(config: BertConfig, encoder: Encoder) -> None:
    model = BertForPreTraining(config)
    ours = {*hf_names(encoder, "bert.").values()}
    for head in (encoder.pooler(), encoder.predictor()):
        ours |= {*hf_names(head).values()}
    theirs = {name for name, _ in model.named_parameters()} - {
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    }
    assert sorted(hf_names(encoder, "bert.")) == sorted(name for name, _ in encoder.named_parameters())
    assert ours == theirs


def test_names_are_those_of_the_owner() -> None:
    parts = nn.Sequential(called(nn.Linear(2, 2), "a.dense"), nn.GELU(), called(nn.LayerNorm(2), "a.norm"))
    assert hf_names(parts, "x.") == {
        "0.weight": "x.a.dense.weight",
        "0.bias": "x.a.dense.bias",
        "2.weight": "x.a.norm.weight",
        "2.bias": "x.a.norm.bias",
    }


def test_a_parameter_without_a_name_and_two_of_one_name_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^1\.weight: Linear has no name in transformers; give it one with called\(\)$"
    ):
        hf_names(nn.Sequential(called(nn.Linear(2, 2), "a"), nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"^1\.weight and 0\.weight are both called a\.weight$"):
        hf_names(nn.Sequential(called(nn.Linear(2, 2), "a"), called(nn.Linear(2, 2), "a")))
