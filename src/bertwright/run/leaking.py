"""What the objectives on pairs give away on a corpus: for each of them, what is told of its labels without reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..amounts import amount
from ..data.leaks import PAIRS, Leak, told_without_reading
from ..data.plan import Plan
from ..data.store import TokenStore
from ..errors import InputError
from ..flow import Example
from ..named import find, names
from ..tasks.base import Task
from ..tasks.pairs import PairTask
from .sources import EVALUATION_SEED, chunk_items

LENGTH = 128
TOLERATED = 0.01
"""How far from one half what is told may be; more is a leak where it is more than chance, too."""


def leaks(store: TokenStore, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Leak]:
    """For each objective on pairs what is told of it on a store's training part, in sequences of 128 tokens.

    Of 20,000 pairs, or of as many as one pass over the text gives; of none where the corpus is too small for them.
    """
    kinds = {name: find("bertwright.tasks", name, Task) for name in names("bertwright.tasks")}
    pairing = {name: kind() for name, kind in kinds.items() if issubclass(kind, PairTask)}
    found = {}
    for number, (name, task) in enumerate(pairing.items()):
        found[name] = told_without_reading(_pairs(store, task), name)
        progress(number + 1, len(pairing))
    return found


def _pairs(store: TokenStore, task: Task) -> list[Example]:
    if task.needs_other_documents and len(store.train) < 2:
        return []
    documents = store.train.documents(LENGTH)
    plan = Plan(documents, task.examples, batch_size=PAIRS, seed=EVALUATION_SEED, chunk_items=chunk_items(store))
    try:
        number = PAIRS if plan.epoch(1) == 0 else min(PAIRS, plan.examples_per_epoch)
    except InputError:
        return []
    return plan.take(0, number)


def described(leaks: Mapping[str, Leak]) -> list[str]:
    """Lines for people."""
    lines = ["labels of pairs told without reading, by lengths and borders (50 % is chance):"] if leaks else []
    return lines + [f"  {name}: {_told(leak)}" for name, leak in leaks.items()]


def _told(leak: Leak) -> str:
    if not leak.pairs:
        return "the corpus is too small for it"
    told = f"{leak.share:.1%} ± {2 * leak.error:.1%} of {amount(leak.pairs, 'pair')}"
    if leak.excess <= max(TOLERATED, 2 * leak.error):
        return told
    return f"{told}; part of it can be learned without reading here"
