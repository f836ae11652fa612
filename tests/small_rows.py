"""Small labelled rows for every task on rows, about the sea and a garden, and the files that such rows are kept in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import runs


def pairs(number: int, seed: int) -> list[dict[str, Any]]:
    """Two sentences, on the same topic or not; the score is how many of both are about the sea."""
    draw = random.Random(seed)
    made = []
    for _ in range(number):
        sea = [draw.random() < 0.5 for _ in range(2)]
        texts = [runs.sentence((runs.GARDEN, runs.SEA)[one], draw) for one in sea]
        made.append({"a": texts[0], "b": texts[1], "label": "same" if sea[0] == sea[1] else "other", "score": sum(sea)})
    return made


def several_labels(number: int, seed: int) -> list[dict[str, Any]]:
    """Two sentences in one text, and what they are about."""
    labels = {0: ["сад"], 1: ["море", "сад"], 2: ["море"]}
    return [{"text": f"{row['a']} {row['b']}", "labels": labels[row["score"]]} for row in pairs(number, seed)]


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


def changed(made: list[dict[str, Any]], at: int, **fields: Any) -> list[dict[str, Any]]:
    """The rows, one of them with other fields."""
    return [{**row, **fields} if number == at else row for number, row in enumerate(made)]


def write_conll(path: Path, made: Iterable[Mapping[str, Any]]) -> Path:
    """A token a line, its tag in the last of three columns, and a blank line between sentences."""
    blocks = ["".join(f"{a} - {b}\n" for a, b in zip(row["tokens"], row["tags"], strict=True)) for row in made]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def write_squad(path: Path, made: Iterable[Mapping[str, Any]]) -> Path:
    """An article with a paragraph for each question, as in SQuAD 2.0."""
    paragraphs = [
        {"context": row["context"], "qas": [{"id": str(at), "question": row["question"], "answers": row["answers"]}]}
        for at, row in enumerate(made)
    ]
    squad = {"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(squad, ensure_ascii=False), encoding="utf-8")
    return path
