"""Small encoders, batches of them, and transformers' own models of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig

from bertwright.encoders.base import Encoder, hf_names
from bertwright.flow import Batch, Vocabulary

VOCABULARY = Vocabulary(size=50, pad=0, cls=2, sep=3, mask=4, unk=1, special=(0, 1, 2, 3, 4))


@pytest.fixture
def config() -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY.size,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        hidden_dropout_prob=0.1,
    )


@pytest.fixture
def encoder(config: BertConfig) -> Encoder:
    """Weights large enough that attention is far from uniform."""
    config.initializer_range = 0.3
    return Encoder.from_config(config, seed=3).eval()


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(lengths: Sequence[int], reads: Sequence[int] | None = None, seed: int = 0, vocab_size: int = 50) -> Batch:
        draws = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, vocab_size, (sum(lengths),), generator=draws)
        return Batch(
            ids=ids,
            positions=torch.cat([torch.arange(n) for n in lengths]),
            segments=torch.cat([(torch.arange(n) > n // 2).long() for n in lengths]),
            cu_seqlens=torch.tensor([0, *lengths]).cumsum(0),
            lengths=tuple(lengths),
            vocabulary=replace(VOCABULARY, size=vocab_size),
            reads=None if reads is None else torch.tensor(reads),
        )

    return make


@pytest.fixture
def padded() -> Callable[[Batch], dict[str, Tensor]]:
    """The batch as transformers takes it."""

    def pad(batch: Batch) -> dict[str, Tensor]:
        rows = [nn.utils.rnn.pad_sequence(list(x.split(batch.lengths)), True) for x in (batch.ids, batch.segments)]
        mask = torch.arange(max(batch.lengths)) < torch.tensor(batch.lengths)[:, None]
        return {"input_ids": rows[0], "token_type_ids": rows[1], "attention_mask": mask.long()}

    return pad


@pytest.fixture
def own_tensors() -> Callable[..., dict[str, Tensor]]:
    """An encoder and heads as `save` takes them."""

    def tensors(encoder: Encoder, *heads: nn.Module, prefix: str = "bert.") -> dict[str, Tensor]:
        named: dict[str, Tensor] = {name: encoder.get_parameter(own) for own, name in hf_names(encoder, prefix).items()}
        for head in heads:
            named |= {name: head.get_parameter(own) for own, name in hf_names(head).items()}
        return named

    return tensors


@pytest.fixture
def folder(tmp_path: Path, config: BertConfig) -> Path:
    """A checkpoint that transformers wrote: BertForPreTraining, its weights drawn wide."""
    from transformers import BertForPreTraining

    torch.manual_seed(1)
    config.initializer_range = 0.3
    BertForPreTraining(config).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"
