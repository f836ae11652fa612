"""Each task of the package, found by itself, with items to learn from and a batch.

A task that reads documents gets a small corpus, one that reads rows gets rows with text in the columns that its
settings name and a label of 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from samples import batch_of, corpus, examples, rows, speech, tokenizer

from bertwright.data.rows import Rows
from bertwright.flow import Batch, Document, Example
from bertwright.named import find, names
from bertwright.run.choose import task_of
from bertwright.tasks.base import LabelledTask, Task

KINDS = {name: find("bertwright.tasks", name, Task) for name in names("bertwright.tasks")}
# What reads documents and hides nothing goes with masked LM.
JOINED = [f"mlm+{name}" for name, kind in KINDS.items() if kind.reads is Document and not kind.changes_ids]
TASKS = [*KINDS, *JOINED]
OWN = tokenizer().vocabulary
SIZE = OWN.size


@cache
def task_called(name: str) -> Task:
    """With its default settings, and what it must know of the data filled in."""
    task = task_of(name, {})
    return task.settled(rows(task)) if isinstance(task, LabelledTask) else task


def items_for(task: Task) -> Sequence[Document] | Rows:
    if isinstance(task, LabelledTask):
        return rows(task)
    return [*speech(), *corpus(size=SIZE)]


def group_for(name: str) -> list[Example]:
    return examples(task_called(name), items_for(task_called(name)))


def labelled(name: str, group: list[Example]) -> Batch:
    return batch_of(task_called(name), group, OWN, 1)
