"""Every task on rows, from the file to the answers: what is learned, what transformers says of it, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs
import theirs
from scipy import stats
from sklearn import metrics
from small_rows import changed, choices, pairs, questions, sentences, several_labels, write_conll, write_squad

from bertwright.errors import InputError, RecipeError
from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance
from bertwright.tasks.entities import matched
from bertwright.tasks.squad import judged

ENOUGH = {"train__steps": 30, "train__lr": 2e-3, "evaluate__every": 15}


def learned(start: Path, folder: Path, task: str, made: list[dict[str, Any]], dev: list[dict[str, Any]], **how: Any):
    """A run of a task on those rows, judged by the others."""
    train, held = (runs.write_rows(folder / f"{name}.jsonl", x) for name, x in (("train", made), ("dev", dev)))
    changes = {"task": task, "data__dev": str(held), "save__every": 30, **ENOUGH, **how}
    return runs.done(runs.finetuning(start, train, folder / "run", **changes))


def record_of(home: Path) -> Provenance:
    record = Provenance.read(home / "model")
    assert record is not None
    return record


def heldout(home: Path) -> dict[str, float]:
    return dict(record_of(home).heldout)


def test_pairs_are_classified_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__pair__first": "a", "tasks__pair__second": "b", "tasks__pair__weights": "balanced"}
    home = learned(pretrained, tmp_path, "pair", pairs(64, 1), dev, **settings)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    said = theirs.classified(home / "model", [{"text": row["a"], "text_pair": row["b"]} for row in dev])
    for one, scores in zip(ours, said, strict=True):
        assert one["probabilities"] == pytest.approx(scores, abs=1e-5)
        assert one["predicted"] == max(scores, key=lambda label: scores[label])
        assert one["probability"] == one["probabilities"][one["predicted"]]
    accuracy = metrics.accuracy_score([row["label"] for row in dev], [one["predicted"] for one in ours])
    assert heldout(home)["pair.accuracy"] == pytest.approx(accuracy)


def test_scores_are_predicted_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__regress__first": "a", "tasks__regress__second": "b"}
    home = learned(pretrained, tmp_path, "regress", pairs(64, 1), dev, **settings)
    answerer = Answerer(str(home), precision="fp32")
    ours = [one["predicted"] for one in answerer.predict(dev)]
    said = theirs.classified(home / "model", [{"text": row["a"], "text_pair": row["b"]} for row in dev])
    assert ours == pytest.approx([scores["score"] for scores in said], abs=1e-5)
    report, true = heldout(home), [row["score"] for row in dev]
    assert report["regress.pearson"] == pytest.approx(stats.pearsonr(ours, true)[0], abs=1e-5)
    assert report["regress.spearman"] == pytest.approx(stats.spearmanr(ours, true)[0], abs=1e-3)
    assert report["regress.pearson"] > 0.5
    assert answerer.evaluate_rows(dev) == pytest.approx(report, abs=1e-4)
    assert Answerer(str(home)).task.name == "regress"


def test_several_labels_are_said_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = several_labels(30, 2)
    home = learned(pretrained, tmp_path, "multilabel", several_labels(64, 1), dev)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    for one, scores in zip(ours, theirs.classified(home / "model", [row["text"] for row in dev]), strict=True):
        assert one["probabilities"] == pytest.approx(scores, abs=1e-5)
    true = [[int(label in row["labels"]) for label in ("море", "сад")] for row in dev]
    said = [[int(label in one["predicted"]) for label in ("море", "сад")] for one in ours]
    assert heldout(home)["multilabel.micro_f1"] == pytest.approx(metrics.f1_score(true, said, average="micro"))


def test_tokens_are_tagged_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = [*sentences(20, 2), *sentences(4, 3, long=True)]
    home = learned(pretrained, tmp_path, "tag", sentences(64, 1), dev, train__steps=60)
    answerer = Answerer(str(home), length=512, precision="fp32")
    ours = list(answerer.predict(dev))
    for one, (tags, scores) in zip(ours, theirs.tagged(home / "model", dev), strict=True):
        assert one["predicted"] == tags
        assert one["probability"] == pytest.approx(scores, abs=1e-5)
    windowed = list(Answerer(str(home), length=32, precision="fp32").predict(dev))
    assert [len(one["predicted"]) for one in windowed] == [len(row["tokens"]) for row in dev]
    report = heldout(home)
    expected, said, both = matched((row["tags"], one["predicted"]) for row, one in zip(dev, windowed, strict=True))
    assert report["tag.f1"] == pytest.approx(2 * both / (expected + said))
    assert report["tag.f1"] > 0.3
    assert Answerer(str(home), length=32, precision="fp32").evaluate_rows(dev) == pytest.approx(report, abs=1e-4)
    true = [tag for row in dev for tag in row["tags"]]
    flat = [tag for one in windowed for tag in one["predicted"]]
    assert report["tag.accuracy"] == pytest.approx(metrics.accuracy_score(true, flat))


@pytest.mark.parametrize("kind", ["conll", "csv"])
def test_tokens_of_every_kind_of_file(pretrained: Path, tmp_path: Path, kind: str) -> None:
    made = sentences(40, 1)
    rows = runs.write_rows(tmp_path / "rows.jsonl", made)
    other = tmp_path / f"rows.{kind}"
    if kind == "conll":
        write_conll(other, made)
    else:
        runs.write_rows(other, [{key: " ".join(value) for key, value in row.items()} for row in made])
    settings = {"task": "tag", "train__steps": 2, "data__dev": str(rows)}
    one, two = (
        runs.done(runs.finetuning(pretrained, path, tmp_path / path.suffix[1:] / "run", **settings))
        for path in (rows, other)
    )
    assert runs.same_weights(one, two)


def test_questions_are_answered_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = questions(24, 2)
    home = learned(pretrained, tmp_path, "span", questions(64, 1), dev)
    ours = list(Answerer(str(home), length=512, precision="fp32").predict(dev))
    assert [one["predicted"] for one in ours] == theirs.answered(home / "model", dev)
    for row, one in zip(dev, ours, strict=True):
        assert one["predicted"] == row["context"][one["start"] or 0 : one["end"] or 0]
    report = heldout(home)
    windowed = list(Answerer(str(home), length=32, precision="fp32").predict(dev))
    scores = [
        judged(one["predicted"], [x["text"] for x in row["answers"]]) for row, one in zip(dev, windowed, strict=True)
    ]
    assert report["span.exact"] == pytest.approx(sum(exact for exact, _ in scores) / 24)
    assert report["span.f1"] == pytest.approx(sum(f1 for _, f1 in scores) / 24)
    assert record_of(home).settings["unanswerable"] is True


def test_a_squad_file_is_the_same_run_as_rows(pretrained: Path, tmp_path: Path) -> None:
    made = questions(40, 1)
    rows = runs.write_rows(tmp_path / "rows.jsonl", made)
    write_squad(tmp_path / "squad.json", made)
    settings = {"task": "span", "train__steps": 2, "data__dev": str(rows)}
    one, two = (
        runs.done(runs.finetuning(pretrained, tmp_path / name, tmp_path / f"of-{name}", **settings))
        for name in ("rows.jsonl", "squad.json")
    )
    assert runs.same_weights(one, two)


def test_endings_are_chosen_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = choices(20, 2)
    home = learned(pretrained, tmp_path, "choice", choices(64, 1), dev)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    for one, shares in zip(ours, theirs.chosen(home / "model", dev), strict=True):
        assert one["probabilities"] == pytest.approx(shares, abs=1e-5)
        assert one["predicted"] == shares.index(max(shares))
    right = sum(one["predicted"] == row["label"] for row, one in zip(dev, ours, strict=True))
    assert heldout(home)["choice.accuracy"] == pytest.approx(right / 20)
    assert Answerer(str(home)).task.name == "choice"


@pytest.mark.parametrize("scored", [False, True])
def test_embeddings_are_those_of_a_sentence_transformer(pretrained: Path, tmp_path: Path, scored: bool) -> None:
    made, dev = ([x | {"score": 2 - abs(x["score"] - 1) * 2} for x in pairs(64, seed)] for seed in (1, 2))
    if not scored:
        made, dev = ([{"a": x["a"], "b": x["b"]} for x in some] for some in (made, dev))
    settings = {"tasks__embed__first": "a", "tasks__embed__second": "b", "tasks__embed__group": 4}
    home = learned(pretrained, tmp_path, "embed", made, dev, **settings)
    report = heldout(home)
    assert set(report) == {"embed.loss", *(("embed.pearson", "embed.spearman") if scored else ("embed.accuracy",))}
    ours = list(Answerer(str(home), length=512, precision="fp32").predict(dev))
    assert "No head with weights of its own." in record_of(home).sentence()
    for side, column in enumerate("ab"):
        said = theirs.embedded(home / "model", [row[column] for row in dev])
        assert [one["embeddings"][side] for one in ours] == [pytest.approx(vector, abs=1e-4) for vector in said]


NAMED = {"first": "a", "second": "b"}
PAIRS, TOKENS, ASKED, CHOICES = pairs(20, 1), sentences(20, 1), questions(20, 1), choices(20, 1)


@pytest.mark.parametrize(
    ("task", "settings", "made", "said"),
    [
        ("pair", NAMED, changed(PAIRS, 7, label="neither"), "class 'neither' has this one example; give it more"),
        ("pair", NAMED, changed(PAIRS, 7, b=" "), "column 'b' is empty; a pair has text on both sides"),
        (
            "regress",
            NAMED,
            changed(PAIRS, 7, score="много"),
            "column 'score' holds 'много'; a score is a number, as in",
        ),
        ("regress", NAMED, changed(PAIRS, 7, a=""), "column 'a' is empty; a pair has text on both sides"),
        (
            "multilabel",
            {"text_field": "a", "label_field": "label"},
            changed(PAIRS, 7, label=3.5),
            "holds 3.5; accepted",
        ),
        ("tag", {}, changed(TOKENS, 7, tags=["O"]), "tokens and 1 tags; each token has one"),
        ("span", {}, changed(ASKED, 7, answers="не здесь"), "the answer 'не здесь' does not stand in its context"),
        ("choice", {}, changed(CHOICES, 7, label=9), "label 9 is no ending; accepted are 0 to"),
        ("choice", {}, changed(CHOICES, 7, endings=["one"]), "a choice has at least 2 endings and none of them empty"),
        ("embed", NAMED, changed(PAIRS, 7, score=None), "column 'score' is empty, and other rows have a score in it"),
        ("embed", NAMED, changed(PAIRS, 7, b=None), "column 'b' is missing or empty"),
    ],
)
def test_rows_that_teach_nothing(
    pretrained: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    task: str,
    settings: dict[str, str],
    made: list[dict[str, Any]],
    said: str,
) -> None:
    """The file and the row are named, as training rows and, where they can be told there, as rows to judge by."""
    path = runs.write_rows(tmp_path / "rows.jsonl", made)
    tables = runs.finetuning(pretrained, path, tmp_path / "run", task=task, tasks={task: settings})
    line = refused(tables, InputError)
    assert said in line
    assert "rows.jsonl:8: " in line


@pytest.mark.parametrize(
    ("task", "settings", "made", "worse", "said"),
    [
        (
            "pair",
            NAMED,
            PAIRS,
            {"label": "neither"},
            "label 'neither' is unknown to the model, whose classes are 'other', 'same'",
        ),
        ("pair", NAMED, PAIRS, {"a": ""}, "column 'a' is empty"),
        ("regress", NAMED, PAIRS, {"score": True}, "column 'score' holds True"),
        (
            "tag",
            {},
            TOKENS,
            {"tags": ["B-CITY"], "tokens": ["Москва"]},
            "tag 'B-CITY' is unknown to the model, whose tags",
        ),
        ("tag", {}, TOKENS, {"tags": ["O"]}, "tokens and 1 tags"),
        ("span", {}, ASKED, {"answers": "не здесь"}, "the answer 'не здесь' does not stand in its context"),
        ("choice", {}, CHOICES, {"label": "D"}, "label 'D' is no ending"),
    ],
)
def test_rows_that_cannot_judge(
    pretrained: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    task: str,
    settings: dict[str, str],
    made: list[dict[str, Any]],
    worse: dict[str, Any],
    said: str,
) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", made)
    dev = runs.write_rows(tmp_path / "dev.jsonl", changed(made[:9], 4, **worse))
    how = {"task": task, "tasks": {task: settings}, "data__dev": str(dev)}
    line = refused(runs.finetuning(pretrained, train, tmp_path / "run", **how), InputError)
    assert "dev.jsonl:5: " in line
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_model_reads_as_much_as_it_learned_with(pretrained: Path, tmp_path: Path) -> None:
    home = learned(
        pretrained, tmp_path, "regress", PAIRS, PAIRS, data__length=16, train__steps=2, tasks={"regress": NAMED}
    )
    assert Answerer(str(home)).length == 16
    assert Answerer(str(home), length=40).length == 40
    with pytest.raises(RecipeError, match="the length is 10000; accepted are 8 to 512"):
        Answerer(str(home), length=10_000)


@pytest.mark.parametrize(
    ("task", "use"),
    [
        ("regress", 'pipeline("text-classification", model="PATH_OF_THIS_FOLDER")'),
        ("choice", 'BertForMultipleChoice.from_pretrained("PATH_OF_THIS_FOLDER")'),
        ("tag", 'pipeline("token-classification", model="PATH_OF_THIS_FOLDER", aggregation_strategy="first")'),
        ("embed", 'SentenceTransformer("PATH_OF_THIS_FOLDER").encode(["A text.", "Another one."])'),
    ],
)
def test_the_card_says_how_to_use_the_model(pretrained: Path, tmp_path: Path, task: str, use: str) -> None:
    made = {"choice": CHOICES, "tag": sentences(12, 1)}.get(task, PAIRS)
    settings = {"tasks": {task: NAMED}} if made is PAIRS else {}
    home = learned(pretrained, tmp_path, task, made, made, train__steps=1, **settings)
    lines = (home / "model" / "README.md").read_text(encoding="utf-8").splitlines()
    assert use in lines
    embeds = task == "embed"
    assert f"library_name: {'sentence-transformers' if embeds else 'transformers'}" in lines
    assert ("pipeline_tag: sentence-similarity" in lines) == embeds
