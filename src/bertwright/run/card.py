"""The model card: what the model is, what it was made from, how well it does, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

from .drawing import draw
from .provenance import Provenance
from .spec import Recipe


def card(recipe: Recipe, provenance: Provenance, architecture: str, pipeline: str, mistakes: Sequence[str]) -> str:
    """The card as Markdown with the Hub's front matter.

    `architecture` is transformers' class for the model, `pipeline` its name for what the model does, where it has one,
    and `mistakes` are lines on what it gets wrong.
    """
    use = _use(architecture, pipeline)
    parts = [_front(pipeline), _what(provenance), _how_well(provenance), mistakes, use, _how(recipe, provenance)]
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


def _use(architecture: str, pipeline: str) -> list[str]:
    if pipeline:
        lines = ["from transformers import pipeline", f'pipeline("{pipeline}", model="PATH_OF_THIS_FOLDER")']
    else:
        lines = [f"from transformers import {architecture}", f'{architecture}.from_pretrained("PATH_OF_THIS_FOLDER")']
    return ["## Use", "", "```python", *lines, "```", ""]


def _how(recipe: Recipe, provenance: Provenance) -> list[str]:
    facts = {"data": provenance.data, "versions": provenance.versions, "seed": provenance.seed, "step": provenance.step}
    recipe_lines = ["## Recipe", "", "```toml", recipe.write().strip(), "```", ""]
    return [*recipe_lines, "```json", json.dumps(facts, indent=1, ensure_ascii=False), "```"]
