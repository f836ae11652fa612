"""What heads on sequences read: the first token, or the mean over the sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, encoder, examples, rows, tokenizer

from bertwright.data.pack import pack
from bertwright.encoders.base import Encoder
from bertwright.errors import RecipeError
from bertwright.tasks.base import LabelledTask
from bertwright.tasks.choice import Choice
from bertwright.tasks.classify import Classify
from bertwright.tasks.model import Model
from bertwright.tasks.multilabel import MultiLabel
from bertwright.tasks.pair import Pair
from bertwright.tasks.regress import Regress
from bertwright.tasks.sequences import means

OF_SEQUENCES: list[LabelledTask] = [
    Classify(classes=("0", "1"), pooling="mean"),
    Pair(classes=("0", "1"), pooling="mean"),
    MultiLabel(classes=("0", "1"), pooling="mean"),
    Regress(pooling="mean"),
    Choice(pooling="mean"),
]


def modern() -> Encoder:
    return Encoder.from_config("tiny", arch="modern", vocab_size=200, num_hidden_layers=2, seed=1).eval()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_the_mean_is_over_the_tokens_that_are_read(data: st.DataObject) -> None:
    task = Classify(classes=("0", "1"))
    some = data.draw(st.lists(st.integers(0, 15), min_size=1, max_size=6, unique=True))
    batch = pack([examples(task, rows(task))[at] for at in some], tokenizer().vocabulary)
    read = data.draw(st.none() | st.lists(st.integers(0, batch.tokens - 1), min_size=1, unique=True).map(sorted))
    hidden = torch.randn(batch.tokens, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if read is not None:
        batch = replace(batch, reads=torch.tensor(read))
    said = means(hidden if read is None else hidden[batch.reads], batch)
    for at, (start, length) in enumerate(zip(batch.firsts.tolist(), batch.lengths, strict=True)):
        own = [n for n in range(start, start + length) if read is None or n in read]
        want = hidden[own].mean(0) if own else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(said[at], want)


@torch.no_grad()
@pytest.mark.parametrize("task", OF_SEQUENCES, ids=lambda task: task.name)
def test_packed_equals_alone(task: LabelledTask) -> None:
    whole, own = Model(modern(), task).eval(), tokenizer().vocabulary
    group = examples(task, rows(task))[:6]
    together = task.answers(whole.encoder, whole.head, pack(group, own))
    for one, said in zip(group, together, strict=True):
        (alone,) = task.answers(whole.encoder, whole.head, pack([one], own))
        assert alone.get("probabilities", alone["predicted"]) == pytest.approx(
            said.get("probabilities", said["predicted"]), abs=1e-6
        )
    loss = whole(batch_of(task, group, own, 1))
    assert loss.totals[task.name].isfinite()
    reads = task.asks(pack(group, own)).reads
    assert reads is not None
    assert len(reads) == sum(map(len, group))


@pytest.mark.parametrize("task", OF_SEQUENCES, ids=lambda task: task.name)
def test_what_transformers_cannot_read_is_refused(task: LabelledTask) -> None:
    for arch in ("bert", "electra"):
        line = f"^pooling 'mean': transformers' classifiers of '{arch}' read 'cls'$"
        with pytest.raises(RecipeError, match=line):
            Model(encoder(200, arch=arch), task)
    other = replace(task, pooling="max")  # type: ignore[type-var]
    line = "^pooling 'max': transformers' classifiers of 'modernbert' read 'cls' or 'mean'$"
    with pytest.raises(RecipeError, match=line):
        Model(modern(), other)
