"""The model card: what the model is, what it was made from, how well it does, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from itertools import chain
from typing import NamedTuple

from .drawing import draw
from .provenance import Provenance
from .spec import Recipe

_OPTIONS = {"token-classification": ', aggregation_strategy="first"'}
"""What a pipeline has to be told: the tag of a word is that of its first piece."""


class Use(NamedTuple):
    """How people use a model."""

    library: str
    """What loads it."""
    pipeline: str
    """The Hub's name for what it does, where there is one."""
    lines: Sequence[str]
    """Of Python."""


def use_of(architecture: str, pipeline: str, files: Container[str]) -> Use:
    """By transformers' class, and its pipeline where there is one; or by the files that sentence-transformers reads."""
    if "modules.json" in files:
        load = 'SentenceTransformer("PATH_OF_THIS_FOLDER").encode(["A text.", "Another one."])'
        return Use(
            "sentence-transformers",
            "sentence-similarity",
            ["from sentence_transformers import SentenceTransformer", load],
        )
    if pipeline:
        made = f'pipeline("{pipeline}", model="PATH_OF_THIS_FOLDER"{_OPTIONS.get(pipeline, "")})'
        return Use("transformers", pipeline, ["from transformers import pipeline", made])
    made = f'{architecture}.from_pretrained("PATH_OF_THIS_FOLDER")'
    return Use("transformers", "", [f"from transformers import {architecture}", made])


def card(recipe: Recipe, provenance: Provenance, use: Use, mistakes: Sequence[str], language: str) -> str:
    """The card as Markdown with the Hub's front matter.

    `mistakes` are lines on what the model gets wrong, `language` is the code of that of its text, or "".
    """
    how = ["## Use", "", "```python", *use.lines, "```", ""]
    parts = [_front(use, language), _what(provenance), _how_well(provenance), mistakes, how, _how(recipe, provenance)]
    return "\n".join(chain.from_iterable(parts)) + "\n"


def _front(use: Use, language: str) -> list[str]:
    spoken = [f"language: {language}"] if language else []
    tags = [f"pipeline_tag: {use.pipeline}"] if use.pipeline else []
    return ["---", *spoken, f"library_name: {use.library}", *tags, "tags: [bertwright]", "---", ""]


def _what(provenance: Provenance) -> list[str]:
    lines = [f"# {provenance.kind[:1].upper()}{provenance.kind[1:]}: {provenance.task}", "", provenance.sentence(), ""]
    lines += ["```", draw(provenance.tensors), "```", ""]
    if provenance.lineage:
        chain = [f"{run['run']} ({run['kind']}, {run['task']})" for run in provenance.lineage]
        lines += [f"Descends from: {' -> '.join(chain)} -> {provenance.run} (this one).", ""]
    return lines


def _how_well(provenance: Provenance) -> list[str]:
    if not provenance.heldout:
        return []
    rows = [f"| {name} | {value:.4f} |" for name, value in provenance.heldout.items()]
    return ["## On held-out data", "", "| measure | value |", "|---|---|", *rows, ""]


def _how(recipe: Recipe, provenance: Provenance) -> list[str]:
    facts = {"data": provenance.data, "versions": provenance.versions, "seed": provenance.seed, "step": provenance.step}
    recipe_lines = ["## Recipe", "", "```toml", recipe.write().strip(), "```", ""]
    return [*recipe_lines, "```json", json.dumps(facts, indent=1, ensure_ascii=False), "```"]
