"""An encoder with a head on it."""

from __future__ import annotations

import pytest
import torch
from samples import batch_of, corpus, examples, model, rows, tokenizer, vocabulary

from bertwright import tasks
from bertwright.nn.dropout import Dropout
from bertwright.tasks.base import Task
from bertwright.tasks.classify import Classify
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.nsp import NextSentence

TASKS: list[Task] = [
    MaskedLM(),
    NextSentence(),
    MaskedLM() + NextSentence(),
    Classify(classes=("a", "b", "c")),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_parameter_has_one_name_in_transformers(task: Task) -> None:
    whole = model(task)
    names = whole.hf_names()
    assert list(names) == [name for name, _ in whole.named_parameters()]
    assert len(set(names.values())) == len(names)
    assert all(name.startswith("bert.") for own, name in names.items() if own.startswith("encoder."))


def test_dropout_is_set_everywhere() -> None:
    task = Classify(classes=("0", "1"))
    whole = model(task, 200, dropout=0.1)
    batch = batch_of(task, examples(task, rows(task)), tokenizer().vocabulary, 1)

    def spread() -> float:
        whole.train()
        torch.manual_seed(0)
        totals = [whole(batch).totals["classify"].item() for _ in range(4)]
        return max(totals) - min(totals)

    assert spread() > 0
    whole.set_dropout(0.0)
    assert spread() == 0
    whole.set_dropout(0.4)
    assert spread() > 0
    assert [module.p for module in whole.head.modules() if isinstance(module, Dropout)] == [0.4]
    whole.eval()
    assert whole(batch).totals["classify"].item() == whole(batch).totals["classify"].item()


def test_the_vocabulary_head_is_tied_to_the_embeddings() -> None:
    """Its gradient reaches the rows of tokens that stand nowhere in the batch, and it has no matrix of its own."""
    task = MaskedLM(mask=1.0, random=0.0)
    whole = model(task)
    batch = batch_of(task, examples(task, corpus())[:1], vocabulary(), 1)
    whole(batch).totals["mlm"].backward()
    gradient = whole.encoder.word_embeddings.weight.grad
    assert gradient is not None
    absent = sorted(set(range(60)) - set(batch.ids.tolist()))
    assert absent
    assert (gradient[absent].abs().sum(-1) > 0).all()
    assert all(p.shape[0] != 60 or p.ndim == 1 for p in whole.head.parameters())


def test_tasks_are_found_by_their_classes_names() -> None:
    assert tasks.MaskedLM is MaskedLM
    assert tasks.NextSentence is NextSentence
    assert tasks.Classify is Classify
    assert {"MaskedLM", "NextSentence", "Classify", "Task", "Joint"} <= {*dir(tasks)}
    with pytest.raises(AttributeError, match="has no attribute 'MaskedLLM'"):
        tasks.MaskedLLM  # noqa: B018
