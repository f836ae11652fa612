"""What transformers and sentence-transformers say with a model folder, in the shape of bertwright's own answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMultipleChoice, AutoModelForQuestionAnswering, AutoTokenizer, pipeline

LONGEST = 30
"""The most tokens of an answer, as in the task `span`."""


def classified(folder: Path, texts: Sequence[str | dict[str, str]]) -> list[dict[str, float]]:
    """The score of every class for each text, or pair of `text` and `text_pair`."""
    said = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)(texts)
    return [{one["label"]: one["score"] for one in every} for every in said]


def tagged(folder: Path, rows: Iterable[Mapping[str, Any]]) -> list[tuple[list[str], list[float]]]:
    """The tag of each token by its first piece, and the tags' scores."""
    tagger = pipeline("token-classification", model=str(folder), device="cpu", ignore_labels=[])
    found = []
    for row in rows:
        starts = [len(" ".join([*row["tokens"][:at], ""])) for at in range(len(row["tokens"]))]
        said = {one["start"]: one for one in tagger(" ".join(row["tokens"]))}
        found.append(([said[start]["entity"] for start in starts], [said[start]["score"] for start in starts]))
    return found


def answered(folder: Path, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Answers to questions, "" where there is none: transformers 5 has no pipeline for this any more.

    The scores of its model are put together by hand.
    """
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for row in rows:
        asked = tokenizer(row["question"], row["context"], return_tensors="pt", return_offsets_mapping=True)
        offsets, parts = asked.pop("offset_mapping")[0], asked.sequence_ids(0)
        with torch.no_grad():
            said = model(**asked)
        sums = said.start_logits[0][:, None] + said.end_logits[0][None, :]
        inside = torch.tensor([part == 1 for part in parts])
        allowed = inside[:, None] & inside[None, :] & torch.ones_like(sums).triu().tril(LONGEST - 1).bool()
        start, end = divmod(int(sums.masked_fill(~allowed, -1e9).argmax()), len(parts))
        text = row["context"][int(offsets[start][0]) : int(offsets[end][1])]
        found.append("" if sums[0, 0] > sums[start, end] else text)
    return found


def chosen(folder: Path, rows: Iterable[Mapping[str, Any]]) -> list[list[float]]:
    """The probability of each ending."""
    model = AutoModelForMultipleChoice.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for row in rows:
        prompts = [row["prompt"]] * len(row["endings"])
        asked = tokenizer(prompts, row["endings"], return_tensors="pt", padding=True)
        with torch.no_grad():
            said = model(**{key: value[None] for key, value in asked.items()}).logits[0]
        found.append(said.softmax(-1).tolist())
    return found


def embedded(folder: Path, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text."""
    from sentence_transformers import SentenceTransformer  # takes seconds to import

    return SentenceTransformer(str(folder), device="cpu").encode(list(texts), show_progress_bar=False).tolist()
