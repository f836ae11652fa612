"""Stages: lengths and batch sizes that grow, and examples that are a function of the step alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import corpus

from bertwright.data.plan import Plan
from bertwright.data.stages import Stages, growing
from bertwright.flow import Document, Example
from bertwright.tasks.base import Task
from bertwright.tasks.mlm import MaskedLM
from bertwright.tasks.nsp import NextSentence

SHAPES = [[5, 9, 3, 7, 12]] * 40 + [[60], [2], [30, 30, 4]] * 5


def items(length: int) -> list[Document]:
    return corpus(SHAPES, length)


def stages_of(lengths: tuple[int, int], sizes: tuple[int, int], steps: int, task: Task | None = None) -> Stages:
    return Stages(items, (task or MaskedLM()).examples, growing(lengths, sizes, steps), seed=3, chunk_items=7)


def said(examples: list[Example]) -> list[tuple[int, tuple[int, ...]]]:
    return [(example.key, tuple(example.ids.tolist())) for example in examples]


def test_doubling_in_equal_stages() -> None:
    assert growing((16, 128), (8, 8), 90) == [(0, 16, 64), (30, 32, 32), (60, 64, 16), (90, 128, 8)]
    assert growing((128, 128), (8, 64), 90) == [(0, 128, 8), (30, 128, 16), (60, 128, 32), (90, 128, 64)]
    assert growing((50, 128), (8, 8), 10) == [(0, 50, 20), (5, 100, 10), (10, 128, 8)]
    assert growing((128, 128), (8, 8), 90) == [(0, 128, 8)]
    assert growing((16, 128), (2, 8), 0) == [(0, 128, 8)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(8, 512), st.integers(0, 512), st.integers(1, 64), st.integers(0, 64), st.integers(0, 50))
def test_stages_grow_to_what_was_asked_for(start: int, longer: int, size: int, larger: int, steps: int) -> None:
    lengths, sizes = (start, start + longer), (size, size + larger)
    stages = growing(lengths, sizes, steps)
    assert stages[0].first == 0
    assert stages[-1].first <= steps
    assert stages[-1][1:] == (lengths[1], sizes[1])
    for one, after in pairwise(stages):
        assert one.first < after.first
        assert one.length <= after.length
    tokens = [stage.length * stage.batch_size for stage in stages]
    assert all(sizes[0] * lengths[1] - 2 * lengths[1] < some <= sizes[1] * lengths[1] for some in tokens)


def test_the_middle_of_each_stage_and_its_share_of_a_run() -> None:
    stages = stages_of((64, 64), (2, 8), 20)
    assert stages.middles(40) == [(5, 0.25), (15, 0.25), (30, 0.5)]
    assert [len(stages.examples(middle)) for middle, _ in stages.middles(40)] == [2, 4, 8]
    assert stages_of((64, 64), (8, 8), 20).middles(7) == [(3, 1.0)]


@pytest.mark.parametrize("task", [MaskedLM(), NextSentence()], ids=["mlm", "nsp"])
def test_steps_can_be_asked_for_in_any_order(task: Task) -> None:
    def fresh() -> Stages:
        return stages_of((16, 64), (2, 8), 12, task)

    together, order = fresh(), [13, 0, 7, 25, 3, 11, 12, 0, 4]
    found = {step: said(together.examples(step)) for step in order}
    for step in order:
        assert found[step] == said(fresh().examples(step))


def test_each_example_is_another_one_and_of_its_stages_shape() -> None:
    stages = stages_of((16, 64), (2, 8), 12)
    found = [stages.examples(step) for step in range(30)]
    keys = [example.key for examples in found for example in examples]
    assert len(set(keys)) == len(keys)
    for begin, end, length in ((0, 6, 16), (6, 12, 32), (12, 30, 64)):
        assert {len(examples) for examples in found[begin:end]} == {8}
        longest = max(len(example) for examples in found[begin:end] for example in examples)
        assert length // 2 < longest <= length


def test_batches_that_grow_go_on_in_the_same_epoch() -> None:
    """No document is met again before all others were: the batches are those of one plan, divided otherwise."""
    stages = stages_of((24, 24), (2, 8), 10)
    found = [said([example])[0] for step in range(14) for example in stages.examples(step)]
    assert [len(stages.examples(step)) for step in (0, 4, 5, 9, 10)] == [2, 2, 4, 4, 8]
    plan = Plan(items(24), MaskedLM().examples, batch_size=1, seed=3, chunk_items=7)
    assert found == said([plan.examples(place)[0] for place in range(len(found))])


def test_without_growth_they_are_the_plan() -> None:
    stages = stages_of((24, 24), (4, 4), 10)
    plan = Plan(items(24), MaskedLM().examples, batch_size=4, seed=3, chunk_items=7)
    assert all(said(stages.examples(step)) == said(plan.examples(step)) for step in (0, 3, 40))
    assert stages.examples_per_epoch == plan.examples_per_epoch
    assert stages.batch_size == 4


def test_the_last_stage_is_the_plan_of_its_length() -> None:
    """It begins at the front, for other lengths took from sequences of their own."""
    stages = stages_of((12, 24), (4, 4), 10)
    plan = Plan(items(24), MaskedLM().examples, batch_size=4, seed=3, chunk_items=7)
    assert said(stages.examples(10)) == said(plan.examples(0))
    assert said(stages.examples(13)) == said(plan.examples(3))
