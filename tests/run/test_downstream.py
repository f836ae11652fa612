"""Every task on rows, from the file to the answers: what is learned, what transformers says of it, what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from scipy import stats
from sklearn import metrics
from transformers import AutoTokenizer, BertForMultipleChoice, BertForQuestionAnswering, pipeline

from bertwright.errors import InputError
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


def pairs(number: int, seed: int) -> list[dict[str, Any]]:
    """Two sentences, on the same topic or not; the score is how many of both are about the sea."""
    draw = random.Random(seed)
    made = []
    for _ in range(number):
        sea = [draw.random() < 0.5 for _ in range(2)]
        texts = [runs.sentence((runs.GARDEN, runs.SEA)[one], draw) for one in sea]
        made.append({"a": texts[0], "b": texts[1], "label": "same" if sea[0] == sea[1] else "other", "score": sum(sea)})
    return made


def test_pairs_are_classified_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__pair__first": "a", "tasks__pair__second": "b", "tasks__pair__weights": "balanced"}
    home = learned(pretrained, tmp_path, "pair", pairs(64, 1), dev, **settings)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu")
    said = theirs([{"text": row["a"], "text_pair": row["b"]} for row in dev])
    assert [one["predicted"] for one in ours] == [one["label"] for one in said]
    assert [one["probability"] for one in ours] == pytest.approx([one["score"] for one in said], abs=1e-5)
    accuracy = metrics.accuracy_score([row["label"] for row in dev], [one["predicted"] for one in ours])
    assert heldout(home)["pair.accuracy"] == pytest.approx(accuracy)


def test_scores_are_predicted_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = pairs(40, 2)
    settings = {"tasks__regress__first": "a", "tasks__regress__second": "b"}
    home = learned(pretrained, tmp_path, "regress", pairs(64, 1), dev, **settings)
    answerer = Answerer(str(home), precision="fp32")
    ours = [one["predicted"] for one in answerer.predict(dev)]
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu")
    said = theirs([{"text": row["a"], "text_pair": row["b"]} for row in dev])
    assert ours == pytest.approx([one["score"] for one in said], abs=1e-5)
    report, true = heldout(home), [row["score"] for row in dev]
    assert report["regress.pearson"] == pytest.approx(stats.pearsonr(ours, true)[0], abs=1e-5)
    assert report["regress.spearman"] == pytest.approx(stats.spearmanr(ours, true)[0], abs=1e-3)
    assert report["regress.pearson"] > 0.5
    assert answerer.evaluate_rows(dev) == pytest.approx(report, abs=1e-4)
    assert Answerer(str(home)).task.name == "regress"


def test_several_labels_are_said_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    def both(number: int, seed: int) -> list[dict[str, Any]]:
        labels = {0: ["сад"], 1: ["море", "сад"], 2: ["море"]}
        return [{"text": f"{row['a']} {row['b']}", "labels": labels[row["score"]]} for row in pairs(number, seed)]

    dev = both(30, 2)
    home = learned(pretrained, tmp_path, "multilabel", both(64, 1), dev)
    theirs = pipeline("text-classification", model=str(home / "model"), device="cpu", top_k=None)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    for one, said in zip(ours, theirs([row["text"] for row in dev]), strict=True):
        assert one["probabilities"] == pytest.approx({x["label"]: x["score"] for x in said}, abs=1e-5)
    true = [[int(label in row["labels"]) for label in ("море", "сад")] for row in dev]
    said = [[int(label in one["predicted"]) for label in ("море", "сад")] for one in ours]
    assert heldout(home)["multilabel.micro_f1"] == pytest.approx(metrics.f1_score(true, said, average="micro"))


def sentences(number: int, seed: int, long: bool = False) -> list[dict[str, Any]]:
    """Tokens with the agent of each sentence as an entity; long ones are several sentences end to end."""
    draw = random.Random(seed)
    made = []
    for at in range(number):
        tokens, tags = [], []
        for _ in range(12 if long else 1):
            topic = (runs.SEA, runs.GARDEN)[at % 2]
            agent, rest = draw.choice(topic[0]).split(), [w for part in topic[1:] for w in draw.choice(part).split()]
            kind = ("SEA", "САД")[at % 2]
            tokens += [*agent, *rest, "."]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(agent) - 1), *["O"] * (len(rest) + 1)]
        made.append({"tokens": tokens, "tags": tags})
    return made


def test_tokens_are_tagged_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = [*sentences(20, 2), *sentences(4, 3, long=True)]
    home = learned(pretrained, tmp_path, "tag", sentences(64, 1), dev, train__steps=60)
    answerer = Answerer(str(home), length=512, precision="fp32")
    ours = list(answerer.predict(dev))
    theirs = pipeline("token-classification", model=str(home / "model"), device="cpu", ignore_labels=[])
    for row, one in zip(dev, ours, strict=True):
        starts = [len(" ".join([*row["tokens"][:at], ""])) for at in range(len(row["tokens"]))]
        said = {x["start"]: x for x in theirs(" ".join(row["tokens"]))}
        assert one["predicted"] == [said[start]["entity"] for start in starts]
        assert one["probability"] == pytest.approx([said[start]["score"] for start in starts], abs=1e-5)
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
        blocks = ["".join(f"{a} - {b}\n" for a, b in zip(row["tokens"], row["tags"], strict=True)) for row in made]
        other.write_text("\n".join(blocks), encoding="utf-8")
    else:
        runs.write_rows(other, [{key: " ".join(value) for key, value in row.items()} for row in made])
    settings = {"task": "tag", "train__steps": 2, "data__dev": str(rows)}
    one, two = (
        runs.done(runs.finetuning(pretrained, path, tmp_path / path.suffix[1:] / "run", **settings))
        for path in (rows, other)
    )
    assert runs.same_weights(one, two)


def questions(number: int, seed: int) -> list[dict[str, Any]]:
    """Who did it? The answer is the agent of one of a few sentences; every fifth question has none."""
    draw = random.Random(seed)
    made = []
    for at in range(number):
        topics = [runs.SEA, runs.GARDEN] * 2
        said = [runs.sentence(topic, draw) for topic in topics]
        agent = next(agent for agent in runs.SEA[0] if said[0].lower().startswith(agent))
        verb = said[0].split()[len(agent.split())]
        context = " ".join(draw.sample(said, 4))
        start = context.lower().index(agent)
        found = [{"text": context[start : start + len(agent)], "answer_start": start}]
        made.append({"question": f"Who {verb}?", "context": context, "answers": [] if at % 5 == 4 else found})
    return made


def test_questions_are_answered_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    """transformers 5.23 has no pipeline for this any more: its model's scores are put together by hand."""
    dev = questions(24, 2)
    home = learned(pretrained, tmp_path, "span", questions(64, 1), dev)
    ours = list(Answerer(str(home), length=512, precision="fp32").predict(dev))
    model = BertForQuestionAnswering.from_pretrained(home / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    for row, one in zip(dev, ours, strict=True):
        asked = tokenizer(row["question"], row["context"], return_tensors="pt", return_offsets_mapping=True)
        offsets, parts = asked.pop("offset_mapping")[0], asked.sequence_ids(0)
        with torch.no_grad():
            said = model(**asked)
        sums = said.start_logits[0][:, None] + said.end_logits[0][None, :]
        none = float(sums[0, 0])
        inside = torch.tensor([part == 1 for part in parts])
        allowed = inside[:, None] & inside[None, :] & torch.ones_like(sums).triu().tril(29).bool()
        start, end = divmod(int(sums.masked_fill(~allowed, -1e9).argmax()), len(parts))
        text = row["context"][int(offsets[start][0]) : int(offsets[end][1])]
        assert one["predicted"] == ("" if none > float(sums[start, end]) else text)
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
    paragraphs = [
        {"context": row["context"], "qas": [{"id": str(at), "question": row["question"], "answers": row["answers"]}]}
        for at, row in enumerate(made)
    ]
    squad = {"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad, ensure_ascii=False), encoding="utf-8")
    settings = {"task": "span", "train__steps": 2, "data__dev": str(rows)}
    one, two = (
        runs.done(runs.finetuning(pretrained, tmp_path / name, tmp_path / f"of-{name}", **settings))
        for name in ("rows.jsonl", "squad.json")
    )
    assert runs.same_weights(one, two)


def choices(number: int, seed: int) -> list[dict[str, Any]]:
    """What else was said on the topic? Some rows have two endings, some three."""
    draw = random.Random(seed)
    made = []
    for at in range(number):
        sea = at % 2
        right, *wrong = (runs.sentence((runs.GARDEN, runs.SEA)[sea ^ off], draw) for off in (0, 1, 1)[: 2 + at % 2])
        endings = [*wrong]
        label = draw.randint(0, len(wrong))
        endings.insert(label, right)
        prompt = runs.sentence((runs.GARDEN, runs.SEA)[sea], draw)
        made.append({"prompt": prompt, "endings": endings, "label": label})
    return made


def test_endings_are_chosen_as_transformers_does(pretrained: Path, tmp_path: Path) -> None:
    dev = choices(20, 2)
    home = learned(pretrained, tmp_path, "choice", choices(64, 1), dev)
    ours = list(Answerer(str(home), precision="fp32").predict(dev))
    model = BertForMultipleChoice.from_pretrained(home / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    for row, one in zip(dev, ours, strict=True):
        number = len(row["endings"])
        asked = tokenizer([row["prompt"]] * number, row["endings"], return_tensors="pt", padding=True)
        with torch.no_grad():
            said = model(**{key: value[None] for key, value in asked.items()}).logits[0].softmax(-1)
        assert one["probabilities"] == pytest.approx(said.tolist(), abs=1e-5)
        assert one["predicted"] == int(said.argmax())
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
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(home / "model"), device="cpu")
    for side, column in enumerate("ab"):
        said = theirs.encode([row[column] for row in dev], show_progress_bar=False)
        assert [one["embeddings"][side] for one in ours] == [pytest.approx(v.tolist(), abs=1e-4) for v in said]


@pytest.mark.parametrize("task", ["regress", "tag", "span", "choice", "embed"])
def test_modern_encoders_take_every_task(base: Path, tmp_path: Path, task: str) -> None:
    """What is written is read back by ModernBERT's class in transformers and compared, at the end of the run."""
    start = modern(base)
    made = {"tag": sentences, "span": questions, "choice": choices}.get(task, pairs)(24, 1)
    settings = {f"tasks__{task}__{name}": x for name, x in {"first": "a", "second": "b"}.items() if "a" in made[0]}
    home = learned(start, tmp_path, task, made, made[:8], train__steps=2, evaluate__every=2, save__every=2, **settings)
    config = json.loads((home / "model" / "config.json").read_text(encoding="utf-8"))
    kind = {"regress": "SequenceClassification", "tag": "TokenClassification", "span": "QuestionAnswering"}
    expected = {"choice": "ForMultipleChoice", "embed": "Model"}.get(task) or f"For{kind[task]}"
    assert config["architectures"] == [f"ModernBert{expected}"]
    unlabelled = [{k: v for k, v in row.items() if k not in ("label", "score", "tags", "answers")} for row in made[:3]]
    assert len(list(Answerer(str(home)).predict(unlabelled))) == 3


@cache
def modern(base: Path) -> Path:
    tables = runs.pretraining(
        runs.store(base), base / "downstream" / "modern", task="mlm", encoder__arch="modern", train__steps=2
    )
    return runs.done(tables)


def changed(made: list[dict[str, Any]], at: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**row, **fields} if number == at else row for number, row in enumerate(made)]


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
            "label 'neither' is unknown to the model, whose classes are other, same",
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
    assert Answerer(str(home), length=10_000).length == 512


@pytest.mark.parametrize(
    ("task", "use"),
    [
        ("regress", 'pipeline("text-classification", model="PATH_OF_THIS_FOLDER")'),
        ("choice", 'BertForMultipleChoice.from_pretrained("PATH_OF_THIS_FOLDER")'),
        ("embed", 'BertModel.from_pretrained("PATH_OF_THIS_FOLDER")'),
    ],
)
def test_the_card_says_how_to_use_the_model(pretrained: Path, tmp_path: Path, task: str, use: str) -> None:
    made = CHOICES if task == "choice" else PAIRS
    settings = {} if task == "choice" else {"tasks": {task: NAMED}}
    home = learned(pretrained, tmp_path, task, made, made, train__steps=1, **settings)
    assert use in (home / "model" / "README.md").read_text(encoding="utf-8").splitlines()
