"""The batch of a step is a function of (items, cut, seed, step) alone."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import numbered

from bertwright.data.plan import MAX_BLOCKS, Plan, in_order
from bertwright.errors import InputError
from bertwright.flow import Example
from bertwright.tasks.mlm import MaskedLM

FIXED = settings(max_examples=60, deadline=None, derandomize=True)


def made(item: int, number: int) -> Example:
    ids = np.array([item, number])
    return Example(ids=ids, segments=np.zeros_like(ids))


def steady(item: int, rng: np.random.Generator) -> Iterator[Example]:
    """The same number of examples whenever an item is cut: 1 to 3, none for every fifth item but the first."""
    if item == 0 or item % 5:
        yield from (made(item, number) for number in range(1 + item % 3))


def random(item: int, rng: np.random.Generator) -> Iterator[Example]:
    """Another number of examples at each cut, item 0 always some."""
    yield from (made(item, int(rng.integers(1000))) for _ in range(int(rng.integers(0 if item else 1, 6))))


def said(examples: Sequence[Example]) -> list[tuple[int, tuple[int, ...]]]:
    return [(example.key, tuple(example.ids.tolist())) for example in examples]


def epoch_of(plan: Plan, epoch: int) -> list[Example]:
    """The examples of an epoch, of a plan with one example a step."""
    size = plan.examples_per_epoch
    return [plan.examples(step)[0] for step in range(epoch * size, (epoch + 1) * size)]


@FIXED
@given(
    items=st.integers(1, 40),
    chunk=st.integers(1, 50),
    batch=st.integers(1, 30),
    cut=st.sampled_from([steady, random]),
    steps=st.lists(st.integers(0, 25), min_size=1, max_size=8),
)
def test_a_step_does_not_depend_on_those_asked_before(
    items: int, chunk: int, batch: int, cut, steps: list[int]
) -> None:
    def fresh() -> Plan:
        return Plan(range(items), cut, batch_size=batch, seed=3, chunk_items=chunk)

    plan = fresh()
    for step in steps:
        found = plan.examples(step)
        assert len(found) == batch
        assert said(found) == said(fresh().examples(step))
        assert plan.epoch(step) == fresh().epoch(step)
    assert plan.examples_per_epoch == fresh().examples_per_epoch


@FIXED
@given(
    items=st.integers(1, 40),
    chunk=st.integers(1, 50),
    batch=st.integers(1, 9),
    cut=st.sampled_from([steady, random]),
)
def test_the_first_epoch_is_every_example_of_every_item_once(items: int, chunk: int, batch: int, cut) -> None:
    plan = Plan(range(items), cut, batch_size=batch, seed=3, chunk_items=chunk)
    size = plan.examples_per_epoch
    whole = [example for step in range(-(-size // batch)) for example in plan.examples(step)][:size]
    assert sorted(said(whole)) == sorted(said(list(in_order(range(items), cut, 3))))


@FIXED
@given(items=st.integers(1, 30), chunk=st.integers(1, 40), cut=st.sampled_from([steady, random]))
def test_later_epochs_take_as_much_of_each_item_as_the_first(items: int, chunk: int, cut) -> None:
    plan = Plan(range(items), cut, batch_size=1, seed=5, chunk_items=chunk)
    first = Counter(int(example.ids[0]) for example in epoch_of(plan, 0))
    keys = {example.key for example in epoch_of(plan, 0)}
    for epoch in (1, 2, 3):
        found = epoch_of(plan, epoch)
        assert Counter(int(example.ids[0]) for example in found) == first
        assert keys.isdisjoint(example.key for example in found)
        keys |= {example.key for example in found}
        assert plan.epoch(epoch * len(found)) == epoch
        assert plan.epoch((epoch + 1) * len(found) - 1) == epoch
    assert len(keys) == 4 * plan.examples_per_epoch


@pytest.mark.parametrize("chunk", [7, 1000])
def test_epochs_and_seeds_differ_in_order(chunk: int) -> None:
    plan = Plan(range(60), steady, batch_size=1, seed=1, chunk_items=chunk)
    other = Plan(range(60), steady, batch_size=1, seed=2, chunk_items=chunk)
    orders = [[tuple(e.ids) for e in epoch_of(p, epoch)] for p, epoch in ((plan, 0), (plan, 1), (plan, 2), (other, 0))]
    orders.append([tuple(e.ids) for e in in_order(range(60), steady, 1)])
    for number, order in enumerate(orders):
        for earlier in orders[:number]:
            assert sorted(order) == sorted(earlier)
            assert sum(one == two for one, two in zip(order, earlier, strict=True)) < len(order) / 5


def test_chunks_mix_items_from_everywhere() -> None:
    """A chunk of a tenth of the items is no stretch of neighbours."""
    plan = Plan(range(1000), lambda item, rng: [made(item, 0)], batch_size=100, seed=1, chunk_items=100)
    items = sorted(int(example.ids[0]) for example in plan.examples(0))
    assert items[0] < 100
    assert items[-1] > 900


def test_chunks_hold_other_items_in_other_epochs_and_seeds() -> None:
    def first_tenth(seed: int, epoch: int) -> set[int]:
        plan = Plan(range(1000), lambda item, rng: [made(item, 0)], batch_size=100, seed=seed, chunk_items=100)
        return {int(example.ids[0]) for example in plan.examples(10 * epoch)}

    tenths = [first_tenth(1, 0), first_tenth(1, 1), first_tenth(1, 2), first_tenth(2, 0)]
    for number, one in enumerate(tenths):
        assert len(one) == 100
        assert all(len(one & other) < 30 for other in tenths[:number])  # 10 expected


def test_examples_of_an_item_do_not_stand_together() -> None:
    plan = Plan(range(100), lambda item, rng: [made(item, n) for n in range(10)], batch_size=1000, seed=1)
    items = [int(example.ids[0]) for example in plan.examples(0)]
    assert sum(one == two for one, two in pairwise(items)) < 30  # 9 expected


def test_items_are_cut_by_chances_of_their_own() -> None:
    """No two cuts of an item, nor two items' cuts, are drawn alike."""

    def drawn(item: int, rng: np.random.Generator) -> Iterator[Example]:
        yield made(0, int(rng.integers(2**60)))

    plan = Plan(range(50), drawn, batch_size=150, seed=1)
    other = Plan(range(50), drawn, batch_size=50, seed=2)
    assert len({int(example.ids[1]) for example in [*plan.examples(0), *other.examples(0)]}) == 200


def test_what_an_item_gives_does_not_depend_on_the_others() -> None:
    def most(item: int, rng: np.random.Generator) -> Iterator[Example]:
        if item != 4:
            yield from random(item, rng)

    def of(cut) -> dict[int, list]:
        found: dict[int, list] = {}
        for example in epoch_of(Plan(range(20), cut, batch_size=1, seed=1, chunk_items=3), 0):
            found.setdefault(int(example.ids[0]), []).append(said([example]))
        return {item: sorted(examples) for item, examples in found.items() if item != 4}

    assert of(random) == of(most)


def test_memory_is_bounded_by_two_chunks() -> None:
    def five(item: int, rng: np.random.Generator) -> Iterator[Example]:
        yield from (made(item, number) for number in range(5))

    def alive() -> int:
        gc.collect()
        return sum(type(thing) is Example for thing in gc.get_objects())

    before = alive()
    plan = Plan(range(300), five, batch_size=20, seed=1, chunk_items=10)
    highest = 0
    for step in range(0, 200, 37):  # into the third epoch
        plan.examples(step)
        highest = max(highest, alive() - before)
    assert 50 <= highest <= 100


def test_more_items_than_blocks() -> None:
    items = MAX_BLOCKS + 5000
    plan = Plan(range(items), lambda item, rng: [made(item, 0)], batch_size=items // 2, seed=1)
    found = np.array([example.ids[0] for step in range(2) for example in plan.examples(step)])
    np.testing.assert_array_equal(np.sort(found), np.arange(items))
    assert np.abs(np.corrcoef(found, np.arange(items))[0, 1]) < 0.02


@pytest.mark.parametrize("items", [range(0), range(1), range(50)])
def test_nothing_to_cut_is_one_line(items: range) -> None:
    plan = Plan(items, lambda item, rng: (), batch_size=2, seed=1, chunk_items=7)
    assert plan.examples_per_epoch == 0
    for step in (0, 3):
        with pytest.raises(InputError, match="no example can be cut from the data"):
            plan.examples(step)
        with pytest.raises(InputError, match="no example can be cut from the data"):
            plan.epoch(step)


def test_a_batch_larger_than_an_epoch_goes_on_into_the_next() -> None:
    plan = Plan(range(4), lambda item, rng: [made(item, 0)], batch_size=10, seed=1)
    found = [example for step in range(2) for example in plan.examples(step)]
    for epoch in range(5):
        assert sorted(int(e.ids[0]) for e in found[4 * epoch : 4 * epoch + 4]) == [0, 1, 2, 3]
    assert len({example.key for example in found}) == 20
    assert [plan.epoch(step) for step in range(3)] == [0, 2, 5]


def test_the_first_epoch_reads_every_token_once() -> None:
    documents = numbered([[5, 40, 3], [1], [200], [7, 7, 7]], length=16)
    plan = Plan(documents, MaskedLM().examples, batch_size=1, seed=1, chunk_items=2)
    expected = np.sort(np.concatenate([sentence for document in documents for sentence in document.sentences]))
    found = np.concatenate([example.ids[1:-1] for example in epoch_of(plan, 0)])
    np.testing.assert_array_equal(np.sort(found), expected)


def test_where_a_later_cut_yields_more_any_of_it_may_be_left_out() -> None:
    def several(item: int, rng: np.random.Generator) -> Iterator[Example]:
        yield from (made(item, number) for number in range(int(rng.integers(1, 6))))

    plan = Plan(range(100), several, batch_size=1, seed=1)
    first = Counter(int(example.ids[0]) for example in epoch_of(plan, 0))
    later = [example.ids.tolist() for epoch in (1, 2, 3) for example in epoch_of(plan, epoch)]
    assert {number for item, number in later if first[item] == 1} == set(range(5))
