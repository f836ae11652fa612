"""From the plan to labelled micro-batches: how a step is divided changes neither its examples nor their labels."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from samples import corpus, feed, speech, vocabulary

from bertwright.data.feed import once
from bertwright.data.plan import in_order
from bertwright.flow import Batch
from bertwright.tasks.base import Task
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.nsp import NextSentence

TASKS: list[Task] = [MaskedLM(), NextSentence(), MaskedLM() + NextSentence()]


def sequences(batches: Iterable[Batch]) -> list[tuple]:
    """Each sequence of the batches with its labels at positions counted from its own beginning, in any order."""
    found = []
    for batch in batches:
        ends = batch.cu_seqlens.tolist()
        for begin, end in pairwise(ends):
            labels = [
                (name, at - begin, value)
                for name, both in batch.labels.items()
                for at, value in zip(both.positions.tolist(), both.values.tolist(), strict=True)
                if begin <= at < end
            ]
            found.append((batch.ids[begin:end].tolist(), batch.segments[begin:end].tolist(), labels))
    return sorted(found)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("items", [corpus(), speech()], ids=["drawn", "written"])
def test_micro_batches_change_nothing(task: Task, items: list) -> None:
    for step in (0, 7):
        whole = feed(task, items, 16, 100_000)(step)
        assert len(whole) == 1
        assert len(whole[0]) == 16
        for micro_tokens in (1, 48, 200):
            parts = feed(task, items, 16, micro_tokens)(step)
            assert len(parts) > 1
            assert all(len(part) == 1 or max(part.lengths) * len(part) <= micro_tokens for part in parts)
            assert sequences(parts) == sequences(whole)


def test_a_step_is_labelled_the_same_whenever_it_is_asked_for() -> None:
    one = feed(MaskedLM(), corpus())
    first = sequences(one(3))
    one(9)
    assert sequences(one(3)) == first == sequences(feed(MaskedLM(), corpus())(3))
    assert sequences(one(4)) != first


def test_each_step_can_be_labelled_by_a_task_of_its_own() -> None:
    task, plain = MaskedLM(rate=0.1, final_rate=0.5), feed(MaskedLM(), corpus(), 16, 60)
    changing = plain.labelled_by(lambda step: task.at(step / 10).label)
    for step in (0, 5, 10):
        fixed = feed(MaskedLM(rate=0.1 + 0.04 * step), corpus(), 16, 60)
        assert sequences(changing(step)) == sequences(fixed(step))
    assert sequences(plain(5)) == sequences(feed(MaskedLM(), corpus(), 16, 60)(5))


def test_what_is_hidden_differs_from_epoch_to_epoch() -> None:
    """Documents that fit are cut alike in every epoch; their masks are not."""
    short = corpus([[12]] * 16)
    one = feed(MaskedLM(), short)
    hidden = [sequences(one(step)) for step in range(4)]
    texts = [sorted(example.ids.tolist() for example in one.plan.examples(step)) for step in range(4)]
    assert all(text == texts[0] for text in texts)
    assert all(a != b for number, a in enumerate(hidden) for b in hidden[:number])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_once_goes_through_everything_with_the_same_labels(task: Task) -> None:
    def all_of(micro_tokens: int, seed: int) -> list[tuple]:
        return sequences(once(in_order(corpus(), task.examples, 0), task.label, vocabulary(), micro_tokens, seed))

    count = len(list(in_order(corpus(), task.examples, 0)))
    assert len(all_of(100, 0)) == count
    assert all_of(100, 0) == all_of(100, 0) == all_of(7, 0) == all_of(100_000, 0)
    if task.changes_ids:
        assert all_of(100, 0) != all_of(100, 1)
