"""Next-sentence prediction: pairs that really follow, pairs that really do not, and no text lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SPAN, batch_of, corpus, examples, model, numbered, vocabulary

from bertwright.flow import Document, Example
from bertwright.sums import add
from bertwright.tasks.nsp import NextSentence

FIXED = settings(max_examples=80, deadline=None, derandomize=True)
SHAPES = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=2, max_size=6)


class Pair:
    """The two segments of an example and its label."""

    def __init__(self, example: Example) -> None:
        assert example.ids[0] == 2
        assert example.ids[-1] == 3
        middle = int(np.flatnonzero(example.segments == 0)[-1])
        assert example.ids[middle] == 3
        assert (example.segments[middle + 1 :] == 1).all()
        self.first, self.second = example.ids[1:middle], example.ids[middle + 1 : -1]
        self.label = example.labels["nsp"]
        self.sizes = len(self.first), len(self.second)

    @property
    def documents(self) -> tuple[int, int]:
        """Which document each segment is from; -1 where it is from several."""
        homes = [set((segment // SPAN).tolist()) for segment in (self.first, self.second)]
        first, second = (home.pop() if len(home) == 1 else -1 for home in homes)
        return first, second


def pairs_of(task: NextSentence, document: Document, seed: int = 0) -> list[Pair]:
    return [Pair(example) for example in task.examples(document, np.random.default_rng(seed))]


def consecutive(ids: np.ndarray) -> bool:
    return bool((np.diff(ids) == 1).all())


@FIXED
@given(SHAPES, st.integers(8, 64), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
def test_pairs_are_what_their_labels_say(shapes: list[list[int]], length: int, random: float, seed: int) -> None:
    task = NextSentence(random=random, short=0.0)
    for number, document in enumerate(numbered(shapes, length), 1):
        for pair in pairs_of(task, document, seed):
            first, second = pair.documents
            assert min(pair.sizes) >= 1
            assert sum(pair.sizes) <= length - 3
            assert consecutive(pair.first)
            assert consecutive(pair.second)
            assert pair.label == int(first != second)
            if random in (0.0, 1.0):
                assert pair.label == random
            if random == 0.0:
                assert first == number
            if pair.label:
                assert number in (first, second)
            else:
                assert pair.second[0] > pair.first[-1]
                if sum(pair.sizes) < length - 3:  # nothing had to be cut off
                    assert pair.second[0] == pair.first[-1] + 1


@FIXED
@given(SHAPES, st.integers(8, 64), st.integers(0, 99))
def test_second_segments_begin_where_a_sentence_does(shapes: list[list[int]], length: int, seed: int) -> None:
    """Or in the middle of a document's last one, and never with the document."""
    starts = [
        number * SPAN + start
        for number, shape in enumerate(shapes, 1)
        for start in [*np.cumsum(shape)[:-1].tolist(), sum(shape[:-1]) + shape[-1] // 2]
    ]
    for document in numbered(shapes, length):
        for pair in pairs_of(NextSentence(), document, seed):
            assert pair.second[0] in starts
            assert pair.second[0] % SPAN != 0


def test_either_document_gives_either_segment() -> None:
    """Of 2 x 2 ways to make a pair each is as likely."""
    document, _ = numbered([[5] * 60_000, [6] * 5000], 32)
    pairs = pairs_of(NextSentence(), document)
    assert len(pairs) > 10_000
    ways = [pair.documents for pair in pairs]
    for way in ((1, 1), (2, 2), (1, 2), (2, 1)):
        assert ways.count(way) / len(ways) == pytest.approx(0.25, abs=0.02)


def test_another_documents_segment_is_from_anywhere_in_it() -> None:
    document, _ = numbered([[5] * 6000, [1] * 40], 16)
    pairs = [pair for pair in pairs_of(NextSentence(random=1.0, short=0.0), document) if pair.documents == (2, 1)]
    starts = np.bincount([int(pair.first[0]) - 2 * SPAN for pair in pairs], minlength=39)
    assert starts[:25].min() > 0.5 * starts[:25].mean()


@pytest.mark.parametrize("sentence", [1, 2, 7])
def test_half_of_a_large_sample_is_apart(sentence: int) -> None:
    document, _ = numbered([[sentence] * (300_000 // sentence), [10] * 1000], 32)
    labels = [pair.label for pair in pairs_of(NextSentence(), document)]
    assert len(labels) > 10_000
    assert sum(labels) / len(labels) == pytest.approx(0.5, abs=0.015)


@FIXED
@given(st.lists(st.integers(1, 30), min_size=2, max_size=40), st.integers(34, 90), st.integers(0, 99))
def test_without_strangers_nothing_is_lost(shape: list[int], length: int, seed: int) -> None:
    """A sentence that the length cuts begins the next pair; only a lone last token is left over."""
    document, _ = numbered([shape, [3]], length)
    pairs = pairs_of(NextSentence(random=0.0), document, seed)
    own = {one for pair in pairs for one in np.concatenate((pair.first, pair.second)).tolist()}
    whole = np.concatenate(document.sentences).tolist()
    missing = set(whole) - own
    assert all(pair.label == 0 for pair in pairs)
    if length - 3 > 31 * 2:  # no sentence fills more than half of a pair
        assert missing <= ({whole[-1]} if shape[-1] == 1 else set()) or any(sum(p.sizes) < 31 for p in pairs)


def test_a_tenth_is_short() -> None:
    document, _ = numbered([[1] * 300_000, [1] * 5000], 35)
    pairs = pairs_of(NextSentence(random=0.0), document)[:-1]
    sizes = np.array([sum(pair.sizes) for pair in pairs])
    # A short pair is 2 to 32 tokens, each as likely; one of 31 of them is as long as the others.
    assert (sizes < 32).mean() == pytest.approx(0.1 * 30 / 31, abs=0.01)
    counts = np.bincount(sizes, minlength=33)[2:32]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 70  # 29 expected
    assert (
        np.array([sum(pair.sizes) for pair in pairs_of(NextSentence(short=0.0), document)])[:-50] == 32
    ).mean() > 0.98


def test_the_border_is_anywhere() -> None:
    """Both segments are of every size, the first and the second alike."""
    document, _ = numbered([[1] * 150_000, [1] * 50_000], 35)
    for random in (0.0, 1.0):
        pairs = pairs_of(NextSentence(random=random, short=0.0), document)[:-50]
        firsts = np.bincount([pair.sizes[0] for pair in pairs], minlength=32)[1:]
        assert len(firsts) == 31
        assert ((firsts - firsts.mean()) ** 2 / firsts.mean()).sum() < 72  # 30 expected


def test_a_first_sentence_that_fills_the_pair_leaves_half_of_it() -> None:
    document, _ = numbered([[100, 100], [1]], 63)
    cut = [pairs_of(NextSentence(random=0.0, short=0.0), document, seed)[0] for seed in range(300)]
    assert {pair.sizes for pair in cut} == {(30, 30)}
    assert all(pair.second[0] == SPAN + 100 for pair in cut)
    fronts = [int(pair.first[0]) - SPAN for pair in cut]
    assert np.mean(fronts) == pytest.approx(35, abs=1)  # 70 tokens go, from either end by chance
    assert min(fronts) > 10
    assert max(fronts) < 60


@pytest.mark.parametrize(("tokens", "sizes"), [(2, (1, 1)), (3, (1, 2)), (10, (5, 5))])
def test_a_document_of_one_sentence_is_halved(tokens: int, sizes: tuple[int, int]) -> None:
    document, _ = numbered([[tokens], [12]], 32)
    (pair,) = pairs_of(NextSentence(random=0.0), document)
    assert pair.sizes == sizes
    assert consecutive(np.concatenate((pair.first, pair.second)))
    (pair,) = pairs_of(NextSentence(random=1.0), document)
    assert (pair.label, sorted(pair.documents)) == (1, [1, 2])


@pytest.mark.parametrize("shape", [[1], []])
def test_a_document_of_one_token_gives_nothing(shape: list[int]) -> None:
    document, _ = numbered([[1], [4]], 32)
    assert pairs_of(NextSentence(), replace(document, sentences=document.sentences[: len(shape)])) == []


def test_beside_documents_of_one_token_there_is_nothing_to_pair_with() -> None:
    document, _ = numbered([[3, 3], [1]], 32)
    assert pairs_of(NextSentence(), document) == []


class Counted(Sequence[np.ndarray]):
    """Sentences that count how often one of them is read, as a store reads them from disk."""

    def __init__(self, sentences: Sequence[np.ndarray]) -> None:
        self._sentences = sentences
        self.read = 0

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, at):
        found = self._sentences[at]
        self.read += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        raise AssertionError("a document is not read whole")


def test_a_long_document_is_read_a_few_times_over_and_no_more() -> None:
    """A book of thousands of sentences costs as much a pair as a page does."""
    document, _ = numbered([[20] * 3000, [5]], 64)
    sentences = Counted(document.sentences)
    pairs = pairs_of(NextSentence(), replace(document, sentences=sentences))
    assert len(pairs) > 1000
    assert sentences.read < 4 * len(sentences)


def test_labels_lie_on_first_tokens() -> None:
    task = NextSentence()
    group = examples(task, corpus())
    batch = batch_of(task, group, vocabulary(), 1)
    assert torch.equal(batch.labels["nsp"].positions, batch.firsts)
    assert batch.labels["nsp"].values.tolist() == [example.labels["nsp"] for example in group]
    assert set(batch.labels["nsp"].values.tolist()) == {0, 1}
    assert batch.reads is not None
    assert torch.equal(batch.reads, batch.firsts)


@torch.no_grad()
def test_loss_and_report_are_those_of_the_logits() -> None:
    task = NextSentence()
    whole, batch = model(task).eval(), batch_of(task, examples(task, corpus()), vocabulary(), 1)
    truth = batch.labels["nsp"].values
    logits = task.logits(whole.encoder, whole.head, batch)["nsp"]
    assert logits.shape == (len(batch), 2)
    report = task.report(add([whole(batch).measures]))
    assert report["nsp.loss"] == pytest.approx(float(F.cross_entropy(logits, truth)), rel=1e-5)
    assert report["nsp.accuracy"] == float((logits.argmax(-1) == truth).double().mean())
    assert report["nsp.commonest"] == max(truth.double().mean(), 1 - truth.double().mean())
    assert task.score(report) == -report["nsp.loss"]


def test_what_follows_a_first_segment_that_is_apart_is_not_lost() -> None:
    document, _ = numbered([[1] * 20_000, [1] * 5000], 35)
    pairs = pairs_of(NextSentence(random=1.0, short=0.0), document)
    own = [(one, after) for one, after in pairwise(pairs) if one.documents == after.documents == (1, 2)]
    assert len(own) > 100
    assert all(after.first[0] == one.first[-1] + 1 for one, after in own)
