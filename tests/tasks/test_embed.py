"""Embeddings: pairs that find each other in their group, scores that cosines learn, and the mean over tokens."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import batch_of, examples, model, tokenizer
from scipy import stats

from bertwright.data.feed import Feed
from bertwright.data.pack import pack
from bertwright.data.plan import Plan
from bertwright.data.rows import Rows
from bertwright.errors import InputError, RecipeError
from bertwright.sums import add
from bertwright.tasks.embed import Embed
from bertwright.text.formats import LabelledRow

TEXTS = [
    ("the boat left", "船 在 黎明 离开 港口"),
    ("rain fell for a week .", "дождь"),
    ("сад был зелёным", "the garden was green"),
    ("сад", "garden"),
    ("by noon the crew saw the far shore", "К полудню команда"),
    ("bread", "ink dried in the sun"),
    ("старый", "the old press"),
]
OWN = tokenizer().vocabulary


def rows_of(*scores: Any, length: int = 24) -> Rows:
    made = (
        {"text_a": a, "text_b": b} | ({} if s is None else {"score": s})
        for (a, b), s in zip(TEXTS, scores, strict=False)
    )
    return Rows((LabelledRow(f, f"e.jsonl:{at}") for at, f in enumerate(made, 1)), tokenizer(), length)


PAIRS = rows_of(*[None] * 7)


def vectors(whole: Any, task: Embed, rows: Rows) -> np.ndarray:
    """[rows, 2, H]"""
    said = task.answers(whole.encoder, whole.head, pack(examples(task, rows), OWN))
    return np.array([one["embeddings"] for one in said])


@torch.no_grad()
def test_a_vector_is_the_mean_over_its_tokens() -> None:
    task = Embed()
    whole = model(task, 200).eval()
    found = vectors(whole, task, PAIRS)
    for row, pair in zip(PAIRS, found, strict=True):
        for text, vector in zip((row.fields["text_a"], row.fields["text_b"]), pair, strict=True):
            hidden = whole.encoder(pack([OWN.single(tokenizer().encode(text))], OWN))
            assert vector == pytest.approx(hidden.mean(0).numpy(), abs=1e-5)


@pytest.mark.parametrize("group", [2, 3, 4, 32])
@torch.no_grad()
def test_pairs_find_each_other_in_their_group(group: int) -> None:
    task = Embed(group=group)
    whole = model(task, 200).eval()
    joined = list(task.gathered(examples(task, PAIRS)))
    assert [len(one.lengths) for one in joined] == [2 * min(group, 7 - at) for at in range(0, 7, group)]
    batch = batch_of(task, joined, OWN, 1)
    assert batch.counts == {"embed": 7}
    found = F.normalize(torch.tensor(vectors(whole, task, PAIRS)), dim=-1)
    losses, right = 0.0, 0
    for at in range(0, 7, group):
        cosines = (found[at : at + group, 0] @ found[at : at + group, 1].T).float()
        own = torch.arange(len(cosines))
        losses += float(F.cross_entropy(20 * cosines, own, reduction="sum"))
        right += int((cosines.argmax(1) == own).sum())
    report = task.report(add([whole(batch).measures]))
    assert report == {"embed.loss": pytest.approx(losses / 7, rel=1e-4), "embed.accuracy": right / 7}


@torch.no_grad()
def test_a_second_text_that_is_the_same_is_no_mistake() -> None:
    task = Embed()
    fields = [{"text_a": a, "text_b": b} for a, b in [*TEXTS[:2], ("by noon", TEXTS[0][1]), ("rain", TEXTS[0][1])]]
    some = Rows(fields, tokenizer(), 24)
    whole = model(task, 200).eval()
    batch = batch_of(task, list(task.gathered(examples(task, some))), OWN, 1)
    found = F.normalize(torch.tensor(vectors(whole, task, some)), dim=-1)
    cosines = found[:, 0] @ found[:, 1].T
    against = [[0, 1], [1, 0, 2, 3], [2, 1], [3, 1]]
    losses = [float(F.cross_entropy(20 * cosines[at, rest], torch.tensor(0))) for at, rest in enumerate(against)]
    right = sum(bool(cosines[at, at] >= cosines[at, rest].max()) for at, rest in enumerate(against))
    report = task.report(add([whole(batch).measures]))
    assert report == {"embed.loss": pytest.approx(sum(losses) / 4, rel=1e-4), "embed.accuracy": right / 4}


def test_how_a_step_is_divided_does_not_change_its_gradient() -> None:
    """Groups are drawn from a step before it is cut into passes."""
    task = Embed(group=3)
    gradients = []
    for micro_tokens in (1, 120, 10_000):
        plan = Plan(PAIRS, task.examples, batch_size=12, seed=1)
        batches = Feed(plan, task.label, OWN, micro_tokens, task.gathered)(0)
        whole = model(task, 200)
        for batch in batches:
            (whole(batch).totals["embed"] / 12).backward()
        assert sum(batch.counts["embed"] for batch in batches) == 12
        gradients.append((len(batches), {n: p.grad for n, p in whole.named_parameters() if p.grad is not None}))
    assert len({number for number, _ in gradients}) == 3
    assert any(gradient.any() for gradient in gradients[0][1].values()), "a pair alone has nothing to be told from"
    for _, other in gradients[1:]:
        for name, gradient in gradients[0][1].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_scores_are_learned_by_cosines() -> None:
    scores = [1, 5, 2.5, "3", 4, 1.5, 2]
    some = rows_of(*scores)
    task = Embed().settled(some)
    assert (task.lowest, task.highest) == (1.0, 5.0)
    whole = model(task, 200).eval()
    group = list(task.gathered(examples(task, some)))
    assert [len(one.lengths) for one in group] == [2] * 7
    found = F.normalize(torch.tensor(vectors(whole, task, some)), dim=-1)
    cosines = (found[:, 0] * found[:, 1]).sum(1).numpy()
    true = np.array([float(score) for score in scores])
    report = task.report(add([whole(batch_of(task, group, OWN, 1)).measures]))
    assert report["embed.loss"] == pytest.approx(np.mean((cosines - (true - 1) / 4) ** 2), rel=1e-4)
    assert report["embed.pearson"] == pytest.approx(stats.pearsonr(cosines, true)[0], abs=1e-4)
    assert task.score(report) == report["embed.pearson"]
    answers = task.answers(whole.encoder, whole.head, pack(examples(task, some), OWN))
    assert [one["predicted"] for one in answers] == pytest.approx(cosines.tolist(), abs=1e-5)
    graded = task.grade(some, answers)
    assert graded == {"embed.spearman": pytest.approx(stats.spearmanr(cosines, true)[0])}
    assert task.grade(PAIRS, answers) == {}


def test_one_text_is_embedded_and_not_learned_from() -> None:
    task = Embed()
    alone = Rows([{"text_a": "дождь"}, {"text_a": "船"}], tokenizer(), 24)
    whole = model(task, 200).eval()
    group = examples(task, alone)
    with torch.no_grad():
        said = task.answers(whole.encoder, whole.head, pack(group, OWN))
    assert [[len(vector) for vector in one["embeddings"]] for one in said] == [[32], [32]]
    assert [set(one) for one in said] == [{"embeddings"}] * 2
    with pytest.raises(InputError, match=r"a row without a column 'text_b' cannot be learned from or judged by"):
        batch_of(task, group, OWN, 1)


def test_rows_that_are_no_pairs() -> None:
    with pytest.raises(InputError, match=r"e.jsonl:2: column 'score' is empty, and other rows have a score in it"):
        Embed().settled(rows_of(1, None, 3))
    with pytest.raises(InputError, match=r"column 'score' holds no two different scores: 2.0 to 2.0"):
        Embed().settled(rows_of(2, 2))
    with pytest.raises(InputError, match=r"e.jsonl:1: column 'score' holds 'high'; a score is a number"):
        Embed().settled(rows_of("high", 2))
    with pytest.raises(InputError, match=r"column 'text_b' is missing or empty; the columns are text_a"):
        Embed().settled(Rows([{"text_a": "rain"}], tokenizer(), 24))
    with pytest.raises(InputError, match=r"only some rows have a score in column 'score'"):
        batch_of(Embed(), list(Embed().gathered(examples(Embed(), rows_of(1, None, 3)))), OWN, 1)
    with pytest.raises(RecipeError, match=r"embed.group is at least 2 pairs"):
        Embed(group=1)
    with pytest.raises(RecipeError, match=r"embed.scale is a number above 0"):
        Embed(scale=0.0)


def test_files_are_those_of_a_sentence_transformer() -> None:
    files = Embed().files(model(Embed(), 200).encoder)
    assert [part["path"] for part in json.loads(files["modules.json"])] == ["", "1_Pooling"]
    assert json.loads(files["1_Pooling/config.json"])["word_embedding_dimension"] == 32
    assert json.loads(files["sentence_bert_config.json"])["max_seq_length"] == 64
