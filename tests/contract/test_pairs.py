"""What holds of every objective on pairs, found in bertwright/tasks by itself: its labels are learned by reading only.

A classifier that sees the lengths of both segments and the first and the last token of each stays within a point of one
half, on corpora that are made to give labels away: titles and closing words, verse of even lines, documents of a
sentence or two among long ones, words that only one document has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from samples import in_documents, model, tokenizer

from bertwright.data.leaks import PAIRS, told_without_reading
from bertwright.data.plan import in_order
from bertwright.encoders.exchange import Checkpoint
from bertwright.flow import Document, Example
from bertwright.named import find, names
from bertwright.run import writing
from bertwright.run.answering import task_of_checkpoint
from bertwright.run.choose import task_of
from bertwright.run.provenance import FILE, Provenance
from bertwright.seeds import generator
from bertwright.tasks.base import Task
from bertwright.tasks.pairs import PairTask

KINDS = {name: find("bertwright.tasks", name, Task) for name in names("bertwright.tasks")}
OBJECTIVES = [name for name, kind in KINDS.items() if issubclass(kind, PairTask)]
STOP, COMMA, TITLE, CLOSING, OPENER = range(5, 10)
SIZE = 800
Sentences = list[np.ndarray]


def sentence(draw: np.random.Generator, length: int, topic: int) -> np.ndarray:
    """Words, half of them of the topic, that may begin with an opener and end with a stop."""
    own = 20 + (topic * 7) % 700 + draw.integers(0, 9, length)
    ids = np.where(draw.random(length) < 0.5, own, draw.integers(20, SIZE, length))
    ids[draw.random(length) < 0.05] = COMMA
    if draw.random() < 0.3:
        ids[0] = OPENER
    if length > 1:
        ids[-1] = STOP
    return ids


def prose(draw: np.random.Generator, topic: int) -> Sentences:
    """A title without a stop, sentences of all lengths, a closing word."""
    number = int(draw.geometric(0.05)) + 3
    made = [sentence(draw, int(draw.gamma(3, 6)) + 2, topic) for _ in range(number)]
    made[0] = np.array([TITLE, *made[0][:4] % (SIZE - 20) + 20])
    made[-1][-1] = CLOSING
    return made


def verse(draw: np.random.Generator, topic: int) -> Sentences:
    """Two to eight couplets of 12 or of 16 signs."""
    feet = int(draw.choice([5, 7]))
    lines = [draw.integers(20, SIZE, 2 * feet + 2) for _ in range(int(draw.integers(2, 9)))]
    for line in lines:
        line[feet], line[-1] = COMMA, STOP
    return lines


def mixture(draw: np.random.Generator, topic: int) -> Sentences:
    """One to three sentences, and a long document now and then."""
    number = int(draw.integers(1, 4)) if draw.random() < 0.9 else 60
    return [sentence(draw, int(draw.gamma(2, 10)) + 1, topic) for _ in range(number)]


CORPORA: dict[str, tuple[Callable[[np.random.Generator, int], Sentences], int]] = {
    "prose": (prose, 6800),
    "verse": (verse, 15_000),
    "mixture": (mixture, 8000),
}
"""How a document of a corpus is made, and how many of them hold all the pairs that are looked at."""


@cache
def text_of(name: str) -> list[Sentences]:
    draw = generator("corpus", name)
    make, number = CORPORA[name]
    return [make(draw, topic) for topic in range(number)]


def corpus(name: str, length: int) -> list[Document]:
    return in_documents(text_of(name), SIZE, length)


def pairs(name: str, documents: list[Document]) -> list[Example]:
    return [*islice(in_order(documents, KINDS[name]().examples, 2), PAIRS)]


@pytest.mark.parametrize(("text", "length"), [("prose", 128), ("verse", 32), ("mixture", 32)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_labels_are_not_told_by_lengths_and_borders(name: str, text: str, length: int) -> None:
    leak = told_without_reading(pairs(name, corpus(text, length)), name)
    assert leak.pairs == PAIRS == 20_000
    assert leak.commoner / leak.pairs == pytest.approx(0.5, abs=0.015)
    assert abs(leak.share - 0.5) < 0.01


@dataclass(frozen=True, kw_only=True)
class Careless(PairTask):
    """Same-sentence prediction as it was published: what is short is never replaced, and not by as much."""

    def pairs(self, item: Document, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        for one in item.sentences:
            half = len(one) // 2
            sentences, at = item.elsewhere(rng)
            if half < 5 or rng.random() < 0.5:
                yield one[: max(1, half)], one[half:], 1
            else:
                yield sentences[at][:half], one[half:], 0


@pytest.mark.parametrize(("text", "told"), [("verse", 0.55), ("mixture", 0.6)])
def test_what_leaks_is_seen_on_these_corpora(text: str, told: float) -> None:
    found = [*islice(in_order(corpus(text, 128), Careless().examples, 2), PAIRS // 2)]
    assert told_without_reading(found, "test_pairs").share > told


@pytest.mark.parametrize("joined", ["", "mlm+"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_checkpoint_is_known_by_its_config_alone(name: str, joined: str, tmp_path: Path) -> None:
    """Where the record of how it was made is gone, as after another program has written it."""
    own = tokenizer()
    task = task_of(joined + name, {})
    record = Provenance(task=task.name, reads="", settings={}, seed=1, start="scratch", tensors=[], data={})
    writing.write(tmp_path, model(task, own.vocabulary.size), own, record)
    (tmp_path / FILE).unlink()
    assert task_of_checkpoint(Checkpoint.open(tmp_path)).name == task.name
