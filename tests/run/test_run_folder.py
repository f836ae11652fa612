"""What a run leaves: a folder that explains itself, and a model that transformers loads as it was trained."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import pytest
import runs
import torch
from transformers import AutoModelForPreTraining, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from bertwright.data.pack import pack
from bertwright.errors import RunError
from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance
from bertwright.run.record import RunFolder
from bertwright.run.spec import Recipe
from bertwright.text.tokenizer import Tokenizer

TEXTS = ("The captain saw the storm.", "Садовник полил зелёный горох!", "naïve ёж 船 don't [unknown] 3.14")


def test_the_folder_holds_what_it_says(pretrained: Path) -> None:
    assert sorted(path.name for path in pretrained.iterdir()) == [
        "asked.toml",
        "checkpoints",
        "metrics.jsonl",
        "model",
        "recipe.toml",
    ]
    assert [path.name for path in sorted((pretrained / "checkpoints").iterdir())] == ["step-00000004", "step-00000006"]
    model = {path.name for path in (pretrained / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "bertwright.json", "README.md"} <= model
    assert {"optimizer.safetensors", "state.json"} <= {p.name for p in (pretrained / "checkpoints").rglob("*")}
    assert not {"optimizer.safetensors", "state.json"} & model


@pytest.mark.parametrize("fixture", ["pretrained", "classifier"])
def test_the_recipe_is_complete_and_reads_back(fixture: str, request: pytest.FixtureRequest) -> None:
    home = request.getfixturevalue(fixture)
    text = (home / "recipe.toml").read_text(encoding="utf-8")
    recipe = Recipe.read(home / "recipe.toml")
    assert recipe.write() == text
    assert Recipe.of(tomllib.loads(recipe.write())) == recipe
    unset = [
        key
        for part in (recipe.train, recipe.evaluate, recipe.save)
        for key, value in vars(part).items()
        if value is None
    ]
    assert unset == ["epochs", "budget", "horizon", "patience"]
    parts = set(recipe.task.split("+"))
    assert set(recipe.tasks) == (parts | {"weights"} if len(parts) > 1 else parts)
    assert all(recipe.tasks[name] for name in recipe.tasks)


@pytest.mark.parametrize(("kind", "length"), [("text", {"budget": "0.1s"}), ("rows", {"epochs": 1.5})])
def test_the_resolved_recipe_is_the_same_run(
    kind: str, length: dict[str, object], store: Path, pretrained: Path, labelled: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    tables = runs.pretraining(store, first) if kind == "text" else runs.finetuning(pretrained, labelled, first)
    del tables["train"]["steps"]
    tables["train"] |= length
    runs.done(tables)
    resolved = tomllib.loads((first / "recipe.toml").read_text(encoding="utf-8"))
    second = runs.done(resolved | {"out": str(tmp_path / "second")})
    assert runs.same_weights(first, second)
    assert runs.metrics(first) == runs.metrics(second)


def test_two_processes_do_not_train_in_one_folder(store: Path, tmp_path: Path) -> None:
    tables = runs.pretraining(store, tmp_path / "run", train__steps=2)
    (tmp_path / "run").mkdir()
    with (
        RunFolder(Recipe.of(tables)),
        pytest.raises(RunError, match=r"run: another process is training here; choose another --out, or wait$"),
    ):
        runs.done(tables)
    assert not list((tmp_path / "run").iterdir())
    runs.done(tables)


def test_metrics_are_a_line_a_step_and_a_line_a_judgement(pretrained: Path) -> None:
    lines = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    learned = [line for line in lines if "heldout" not in line]
    judged = [line for line in lines if "heldout" in line]
    assert [line["step"] for line in learned] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in judged] == [3, 6]
    own = {"mlm.loss", "mlm.perplexity", "mlm.accuracy", "mlm.commonest", "nsp.loss", "nsp.accuracy", "nsp.commonest"}
    assert all(set(line) == own | {"step", "lr", "grad_norm", "tokens_per_second", "waiting"} for line in learned)
    assert all(set(line["heldout"]) == own for line in judged)
    assert all(math.isfinite(value) for line in learned for value in line.values())
    assert 4 < learned[0]["mlm.loss"] < 7.5


@torch.no_grad()
def test_transformers_loads_the_pretrained_model_as_it_is(pretrained: Path) -> None:
    theirs, info = AutoModelForPreTraining.from_pretrained(pretrained / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    ours = Answerer(str(pretrained), precision="fp32")
    tokenizer = AutoTokenizer.from_pretrained(pretrained / "model")
    for text in TEXTS:
        said = theirs.eval()(**tokenizer(text, return_tensors="pt"))
        vocabulary = ours.tokenizer.vocabulary
        batch = pack([vocabulary.single(ours.tokenizer.encode(text))], vocabulary)
        logits = ours.task.logits(ours.model.encoder, ours.model.head, ours.task.asks(batch))
        assert (logits["mlm"] - said.prediction_logits[0]).abs().max() < 1e-5
        assert (logits["nsp"] - said.seq_relationship_logits).abs().max() < 1e-5


@torch.no_grad()
def test_transformers_loads_the_classifier_as_it_is(classifier: Path) -> None:
    theirs, info = AutoModelForSequenceClassification.from_pretrained(classifier / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert theirs.config.id2label == {0: "sea", 1: "сад"}
    assert theirs.config.label2id == {"sea": 0, "сад": 1}
    ours = Answerer(str(classifier), precision="fp32")
    tokenizer = AutoTokenizer.from_pretrained(classifier / "model")
    for text in TEXTS:
        said = theirs.eval()(**tokenizer(text, return_tensors="pt"))
        vocabulary = ours.tokenizer.vocabulary
        batch = ours.task.asks(pack([vocabulary.single(ours.tokenizer.encode(text))], vocabulary))
        logits = ours.task.logits(ours.model.encoder, ours.model.head, batch)["classify"]
        assert (logits - said.logits).abs().max() < 1e-5


def test_transformers_encodes_as_we_do(pretrained: Path) -> None:
    theirs, ours = AutoTokenizer.from_pretrained(pretrained / "model"), Tokenizer.load(pretrained / "model")
    for text in (*TEXTS, *runs.documents(4), ""):
        ids = ours.encode(text).tolist()
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert theirs(text)["input_ids"] == ours.vocabulary.single(ours.encode(text)).ids.tolist()
    pair = theirs(TEXTS[0], TEXTS[1])
    ours_pair = ours.vocabulary.pair(ours.encode(TEXTS[0]), ours.encode(TEXTS[1]))
    assert pair["input_ids"] == ours_pair.ids.tolist()
    assert pair["token_type_ids"] == ours_pair.segments.tolist()


def test_a_text_that_is_too_long_is_cut_by_their_pipeline(classifier: Path) -> None:
    (said,) = pipeline("text-classification", str(classifier / "model"), device="cpu")("tide " * 700, truncation=True)
    assert said["label"] in ("sea", "сад")


def test_the_card_says_what_the_model_is(pretrained: Path, classifier: Path) -> None:
    for home, kind in ((pretrained, "fill-mask"), (classifier, "text-classification")):
        card = (home / "model" / "README.md").read_text(encoding="utf-8")
        record = Provenance.read(home / "model")
        assert record is not None
        assert f"pipeline_tag: {kind}\n" in card
        assert record.sentence() in card
        assert all(f"| {name} | {value:.4f} |" in card for name, value in record.heldout.items())
        assert (home / "recipe.toml").read_text(encoding="utf-8").strip() in card
    assert f"Descends from: {Provenance.read(pretrained / 'model').run} (" in card  # type: ignore[union-attr]


def test_the_card_names_the_language_that_was_given(pretrained: Path, tmp_path: Path) -> None:
    """What the script alone tells is not said: letters of one script are those of many languages."""
    russian = runs.make_store(tmp_path, runs.documents(), language="ru")
    home = runs.done(runs.pretraining(russian, tmp_path / "run", train__steps=1))
    card, unnamed = ((one / "model" / "README.md").read_text(encoding="utf-8") for one in (home, pretrained))
    assert card.startswith("---\nlanguage: ru\n")
    assert "language:" not in unnamed.partition("# ")[0]


def test_the_model_is_the_last_checkpoint_or_the_best(pretrained: Path, classifier: Path) -> None:
    last = runs.weights(pretrained / "checkpoints" / "step-00000006")
    assert all(torch.equal(tensor, last[name]) for name, tensor in runs.weights(pretrained / "model").items())
    record = Provenance.read(classifier / "model")
    assert record is not None
    judged = {line["step"]: line["heldout"] for line in runs.metrics(classifier) if "heldout" in line}
    best = max(judged, key=lambda step: (judged[step]["classify.accuracy"], -step))
    assert (record.step, record.heldout) == (best, judged[best])
    chosen = runs.weights(classifier / "checkpoints" / f"step-{best:08d}")
    assert all(torch.equal(tensor, chosen[name]) for name, tensor in runs.weights(classifier / "model").items())
