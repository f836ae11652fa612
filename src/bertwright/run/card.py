"""The model card: what the model is, what it was made from, how well it does, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from .drawing import draw
from .provenance import Provenance
from .spec import Recipe


def card(recipe: Recipe, provenance: Provenance, pipeline: str, mistakes: Sequence[str]) -> str:
    """The card as Markdown with the Hub's front matter; `pipeline` is transformers' name for what the model does, and
    `mistakes` are lines on what it gets wrong."""
    parts = [_front(pipeline), _what(provenance), _how_well(provenance), mistakes, _how(recipe, provenance, pipeline)]
    return "\n".join(chain.from_iterable(parts)) + "\n"


def _front(pipeline: str) -> list[str]:
    tags = [f"pipeline_tag: {pipeline}"] if pipeline else []
    return ["---", "library_name: transformers", *tags, "tags: [bertwright]", "---", ""]


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


def _how(recipe: Recipe, provenance: Provenance, pipeline: str) -> list[str]:
    facts = {"data": provenance.data, "versions": provenance.versions, "seed": provenance.seed, "step": provenance.step}
    use = [
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        f'pipeline("{pipeline or "feature-extraction"}", model="PATH_OF_THIS_FOLDER")',
        "```",
        "",
    ]
    recipe_lines = ["## Recipe", "", "```toml", recipe.write().strip(), "```", ""]
    return [*use, *recipe_lines, "```json", json.dumps(facts, indent=1, ensure_ascii=False), "```"]
