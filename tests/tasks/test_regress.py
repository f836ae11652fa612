"""Scores: their errors, both correlations, and what is no score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import batch_of, examples, model, rows, tokenizer
from scipy import stats

from bertwright.data.pack import pack
from bertwright.data.rows import Rows
from bertwright.errors import InputError, RecipeError
from bertwright.sums import add, correlation
from bertwright.tasks.model import Model
from bertwright.tasks.ranks import spearman
from bertwright.tasks.regress import Regress
from bertwright.text.formats import LabelledRow

SCORES = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=30)


def rows_of(*scores: Any) -> Rows:
    made = (LabelledRow({"text": "the boat", "score": s}, f"s.jsonl:{at}") for at, s in enumerate(scores, 1))
    return Rows(made, tokenizer(), 24)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SCORES, st.sampled_from([0.1, 1.0, 1000.3]))
@example([(1, 1), (1, 2)], 0.1)
@example([(0, 0), (0, 0)], 1.0)
def test_correlations_are_scipys(pairs: list[tuple[int, int]], unit: float) -> None:
    x, y = (np.array(side) * unit + 3 for side in zip(*pairs, strict=True))
    moments = torch.tensor([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y], dtype=torch.float64)
    # scipy warns where one side is constant; both correlations are called 0 there.
    flat = len({*x}) == 1 or len({*y}) == 1
    assert correlation(moments) == pytest.approx(0.0 if flat else stats.pearsonr(x, y)[0], abs=1e-6)
    assert spearman(x.tolist(), y.tolist()) == pytest.approx(0.0 if flat else stats.spearmanr(x, y)[0], abs=1e-9)


@torch.no_grad()
def test_the_report_is_of_what_the_model_says() -> None:
    task = Regress()
    whole, some = model(task, 200).eval(), rows_of(*np.linspace(-1, 4, 7), 2, "2.5")
    batch = batch_of(task, group := examples(task, rows(task)), tokenizer().vocabulary, 1)
    said = task.logits(whole.encoder, whole.head, batch)["regress"].squeeze(-1).numpy()
    true = np.array([one.labels["regress"] for one in group])
    halves = [whole(batch_of(task, part, tokenizer().vocabulary, 1)).measures for part in (group[:5], group[5:])]
    report = task.report(add(halves))
    assert report["regress.mse"] == pytest.approx(((said - true) ** 2).mean(), rel=1e-5)
    assert report["regress.pearson"] == pytest.approx(stats.pearsonr(said, true)[0], abs=1e-5)
    assert task.score(report) == report["regress.pearson"]
    answers = task.answers(whole.encoder, whole.head, pack(examples(task, some), tokenizer().vocabulary))
    assert [type(answer["predicted"]) for answer in answers] == [float] * 9
    assert task.grade(some, [{"predicted": n} for n in range(9)]) == {
        "regress.spearman": pytest.approx(stats.spearmanr([*np.linspace(-1, 4, 7), 2, 2.5], range(9))[0])
    }


@pytest.mark.parametrize("score", ["high", "", "nan", "inf", True, [1.0], {}, "1_000", 1e39])
def test_what_is_no_number_is_refused(score: Any) -> None:
    with pytest.raises(InputError, match=r"s.jsonl:2: column 'score' holds .*; a score is a number, as in 3.5"):
        examples(Regress(), rows_of(1, score))


def test_a_missing_score_is_refused_where_it_is_needed() -> None:
    group = examples(Regress(), rows_of("0.5", None))
    assert [one.labels for one in group] == [{"regress": 0.5}, {}]
    with pytest.raises(InputError, match="without a label cannot be learned from or judged"):
        batch_of(Regress(), group, tokenizer().vocabulary, 1)


@pytest.mark.parametrize(
    ("center", "unit"), [(0.0, 1.0), (50.0, 16.0), (2005.0, 4.0), (5e-4, 2.0**-13), (5e5, 2.0**17)]
)
def test_scores_of_any_order_are_learned_alike(center: float, unit: float) -> None:
    """The loss and its gradient count in units, and what is said before anything is learned is about the mean."""
    steps = np.array([-1.0, 0.5, 2.0, -1.5])
    rows = rows_of(*(center + unit * steps))
    task = Regress().settled(rows)
    assert task.unit == unit
    assert task.center == pytest.approx(center)
    plain = Regress(unit=1.0)
    whole, other = (made_by(task), made_by(plain))
    losses = []
    for one, said in ((whole, rows), (other, rows_of(*steps))):
        loss = one(batch_of(one.task, examples(one.task, said), tokenizer().vocabulary, 1))
        loss.totals["regress"].backward()
        losses.append(float(loss.totals["regress"].detach()))
        report = one.task.report(add([loss.measures]))
        assert report["regress.mse"] == pytest.approx(losses[-1] / 4 * one.task.unit**2)
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    theirs = dict(other.named_parameters())
    for name, parameter in whole.named_parameters():
        if parameter.grad is not None:
            assert (parameter.grad - theirs[name].grad).norm() <= 1e-2 * theirs[name].grad.norm() + 1e-6, name


def made_by(task: Regress) -> Model:
    whole = model(task, 200).eval()
    whole.encoder.draw_head(whole.head, 1, "paper")
    return whole


def test_a_correlation_is_taken_from_the_mean_on() -> None:
    """Sums of squares far from zero would leave nothing of it in float64."""
    scores = 1e6 + np.array([1.0, -1.0, 0.5, 0.25, 0.125])
    task = Regress(center=1e6, unit=1.0)
    whole, rows = made_by(task).double(), rows_of(*scores)
    group = [replace(one, ids=one.ids.copy()) for one in examples(task, rows)]
    for at, one in enumerate(group):
        one.ids[1] = 10 + at
    batch = batch_of(task, group, tokenizer().vocabulary, 1)
    said = task.logits(whole.encoder, whole.head, batch)["regress"].squeeze(-1).detach().numpy()
    report = task.report(add([whole(batch).measures]))
    assert report["regress.pearson"] == pytest.approx(stats.pearsonr(said, scores)[0], abs=1e-6)


@pytest.mark.parametrize("unit", [-1.0, 3.0, float("inf")])
def test_a_unit_is_a_power_of_two(unit: float) -> None:
    with pytest.raises(RecipeError, match="is a power of two, as"):
        Regress(unit=unit)


def test_one_text_or_two() -> None:
    row = {"a": "船 在 黎明", "b": "the boat", "score": 1}
    one, two = (examples(Regress(first="a", second=b), Rows([row], tokenizer(), 24))[0] for b in ("", "b"))
    assert set(one.segments.tolist()) == {0}
    assert set(two.segments.tolist()) == {0, 1}
    assert len(two) > len(one)


def test_a_head_goes_on_only_where_it_gave_a_score() -> None:
    config = model(Regress(), 200).encoder.config
    for key, value in Regress().config_changes().items():
        setattr(config, key, value)
    config.architectures = ["BertForSequenceClassification"]
    assert config.num_labels == 1
    assert Regress.made(config)
    assert Regress().continues("classifier.weight", config)
    config.id2label = {0: "a", 1: "b"}
    assert not Regress.made(config)
    assert not Regress().continues("classifier.weight", config)
    assert Regress().continues("bert.pooler.dense.weight", config)
