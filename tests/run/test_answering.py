"""A trained model at work: labels, filled masks and measures, the same as transformers gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from transformers import AutoTokenizer, BertConfig, BertForPreTraining, BertForSequenceClassification, pipeline

from bertwright.errors import CheckpointError, InputError, RecipeError, StoreError
from bertwright.run.answering import Answerer, filler
from bertwright.run.provenance import Provenance
from bertwright.train import waiting


@pytest.fixture(scope="module")
def answerer(classifier: Path) -> Answerer:
    return Answerer(str(classifier), precision="fp32")


def test_predicted_labels_are_those_of_transformers(classifier: Path, answerer: Answerer) -> None:
    rows = [*runs.rows(50, seed=4), {"text": "The captain посадил the storm в июле."}, {"text": "船"}, {"text": ""}]
    theirs = pipeline("text-classification", model=str(classifier / "model"), device="cpu")
    said = theirs([row["text"] for row in rows])
    ours = list(answerer.predict(rows))
    assert [answer["predicted"] for answer in ours] == [one["label"] for one in said]
    assert {answer["predicted"] for answer in ours} == {"sea", "сад"}
    assert [answer["probability"] for answer in ours] == pytest.approx([one["score"] for one in said], abs=1e-5)


def test_rows_keep_their_order_and_their_columns(answerer: Answerer) -> None:
    rows: list[dict[str, Any]] = [
        {"id": number, "text": f"The captain {'saw the storm ' * (number * 7 % 12)}.", "label": "sea"}
        for number in range(60)
    ]
    answers = list(answerer.predict(rows))
    assert [{key: answer[key] for key in ("id", "text", "label")} for answer in answers] == rows
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["predicted"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["probability"] == max(answer["probabilities"].values())


def test_a_row_is_answered_the_same_in_any_company(answerer: Answerer) -> None:
    rows = runs.rows(20, seed=5)
    together = [answer["probability"] for answer in answerer.predict(rows)]
    alone = [next(answerer.predict([row]))["probability"] for row in rows]
    assert together == pytest.approx(alone, abs=1e-5)


def test_answering_makes_room_for_other_programs(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these take every processor, and no second goes by before that is seen."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waiting, "busy_seconds", lambda: 1000.0 * time.monotonic())
    monkeypatch.setattr(waiting, "_SECONDS", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    answers = answerer.predict(runs.rows(2))
    next(answers)
    assert "idle team" in {thread.name for thread in threading.enumerate()}
    answers.close()
    assert "idle team" not in {thread.name for thread in threading.enumerate()}
    torch.set_num_threads(before)


def test_rows_are_read_as_they_are_answered(answerer: Answerer) -> None:
    """Endless rows: what is not asked for is not read, beyond a few thousand."""
    read = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal read
        while True:
            read += 1
            yield {"text": "again", "number": read}

    answers = answerer.predict(endless())
    assert [next(answers)["number"] for _ in range(3)] == [1, 2, 3]
    first = read
    assert first <= 2048
    while next(answers)["number"] < first:
        pass
    assert read == first
    assert next(answers)["number"] == first + 1
    assert first < read <= 2 * 2048


def test_the_label_column_is_not_looked_at(answerer: Answerer) -> None:
    labels: list[Any] = ["sea", "сад", "never heard of", None, 3]
    answers = list(answerer.predict([{"text": "The tide.", "label": label} for label in labels]))
    assert [answer["label"] for answer in answers] == labels
    assert len({answer["probability"] for answer in answers}) == 1


def test_a_long_text_is_cut(classifier: Path) -> None:
    text = "The captain saw the storm. " * 400
    (cut,) = Answerer(str(classifier), length=16, precision="fp32").predict([{"text": text}])
    (longest,) = Answerer(str(classifier), length=512, precision="fp32").predict([{"text": text}])
    theirs = pipeline("text-classification", model=str(classifier / "model"), device="cpu")
    assert cut["probability"] == pytest.approx(theirs(text, truncation=True, max_length=16)[0]["score"], abs=1e-5)
    assert longest["probability"] == pytest.approx(theirs(text, truncation=True, max_length=512)[0]["score"], abs=1e-5)


def test_a_row_without_text_is_refused(answerer: Answerer) -> None:
    with pytest.raises(InputError, match="column 'text' is missing or empty; the columns are body"):
        list(answerer.predict([{"body": "x"}]))


def test_labelled_rows_are_evaluated(answerer: Answerer) -> None:
    rows = runs.rows(30, seed=6)
    rows[0]["label"] = "сад"
    report = answerer.evaluate_rows(rows)
    right = [answer["predicted"] == answer["label"] for answer in answerer.predict(rows)]
    assert report["classify.accuracy"] == pytest.approx(sum(right) / 30)
    assert 0 < report["classify.accuracy"] < 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "x", "label": "nova"}], "label 'nova' is unknown to the model, whose classes are 'sea', 'сад'"),
        ([{"text": "x"}], "a row: column 'label' is missing or empty"),
        ([{"label": "sea"}], "column 'text' is missing"),
        ([], "there is nothing to judge"),
    ],
)
def test_rows_that_cannot_judge_are_refused(answerer: Answerer, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        answerer.evaluate_rows(rows)


def test_held_out_text_is_evaluated_as_in_the_run(pretrained: Path, store: Path) -> None:
    record = Provenance.read(pretrained / "model")
    assert record is not None
    answerer = Answerer(str(pretrained), length=32, precision="fp32")
    assert answerer.evaluate_store(str(store), 16) == pytest.approx(dict(record.heldout), rel=1e-5)
    whole = answerer.evaluate_store(str(store))
    assert whole == pytest.approx(answerer.evaluate_store(str(store), 10_000), rel=1e-5)
    assert whole != pytest.approx(dict(record.heldout), rel=1e-3)


def test_a_store_of_another_tokenizer_is_refused(pretrained: Path, tmp_path: Path) -> None:
    other = runs.make_store(tmp_path, runs.documents(seed=3), vocab_size=256)
    with pytest.raises(StoreError, match="was made with another tokenizer than the model's; prepare it with"):
        Answerer(str(pretrained)).evaluate_store(str(other))


def test_a_store_with_nothing_held_out_judges_nothing(pretrained: Path, tmp_path: Path) -> None:
    settings = {"vocab_size": 16_384, "tokenizer": str(pretrained / "model"), "heldout": 0.0}
    other = runs.make_store(tmp_path, runs.documents(4), **settings)
    with pytest.raises(InputError, match="there is nothing to judge"):
        Answerer(str(pretrained)).evaluate_store(str(other))


def test_each_task_has_its_own_question(classifier: Path, pretrained: Path, store: Path) -> None:
    with pytest.raises(RecipeError, match="its task is classify; use --input FILE"):
        Answerer(str(classifier)).evaluate_store(str(store))
    with pytest.raises(RecipeError, match=r"its task is mlm\+nsp; use --store STORE"):
        Answerer(str(pretrained)).evaluate_rows(runs.rows(2))
    with pytest.raises(RecipeError, match=r"says nothing of rows: its task is mlm\+nsp"):
        next(Answerer(str(pretrained)).predict(runs.rows(2)))
    with pytest.raises(
        CheckpointError, match="cannot fill masks: its task is classify; a pretrained model can, as the"
    ):
        filler(str(classifier))


@pytest.mark.parametrize(
    "text",
    ["The captain [MASK] the storm.", "Садовник [MASK] белую розу.", "[MASK]", "The [MASK] saw the [MASK] at dawn."],
)
def test_masks_are_filled_as_transformers_does(pretrained: Path, text: str) -> None:
    from bertwright.tasks.mlm import MaskedLM

    ours = Answerer(str(pretrained), MaskedLM(), precision="fp32").fill(text, 7)
    theirs = pipeline("fill-mask", model=str(pretrained / "model"), device="cpu", top_k=7)(text)
    places = theirs if text.count("[MASK]") > 1 else [theirs]
    assert len(ours) == text.count("[MASK]")
    for mine, expected in zip(ours, places, strict=True):
        assert [word for word, _ in mine] == [one["token_str"] for one in expected]
        assert [share for _, share in mine] == pytest.approx([one["score"] for one in expected], abs=1e-6)


def test_a_text_that_cannot_be_filled_is_refused(pretrained: Path) -> None:
    model = filler(str(pretrained))
    with pytest.raises(InputError, match=r"the text has no \[MASK\] to fill: 'nothing'"):
        model.fill("nothing")
    with pytest.raises(InputError, match="the text has 604 tokens; the model takes 512"):
        model.fill("[MASK] " + "again " * 601)
    for top in (0, -1, 385):
        with pytest.raises(RecipeError, match=f"top is a number of words from 1 to 384, not {top}"):
            model.fill("[MASK]", top)
    assert len(model.fill("[MASK]", 384)[0]) == 384


def test_models_that_others_made(pretrained: Path, tmp_path: Path) -> None:
    """No record beside the weights: the config's class says what the model is for."""
    tokenizer = AutoTokenizer.from_pretrained(pretrained / "model")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=384, id2label={0: "no", 1: "yes", 2: "?"}, **shape)
    for kind in (BertForSequenceClassification, BertForPreTraining):
        kind(config).save_pretrained(tmp_path / kind.__name__)
        tokenizer.save_pretrained(tmp_path / kind.__name__)
    (answer,) = Answerer(str(tmp_path / "BertForSequenceClassification")).predict([{"text": "The tide."}])
    assert list(answer["probabilities"]) == ["no", "yes", "?"]
    assert Answerer(str(tmp_path / "BertForPreTraining")).task.name == "mlm+nsp"
    assert len(filler(str(tmp_path / "BertForPreTraining")).fill("The [MASK].")[0]) == 5


def test_a_bare_encoder_answers_nothing(pretrained: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=384, **shape)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(pretrained / "model").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="is a BertModel, which has no head that a task here knows"):
        Answerer(str(tmp_path))
