"""The model card: what the model is, what it was made from, how well it does, and how to use it."""

from __future__ import annotations

import json

from .drawing import draw
from .provenance import Provenance
from .spec import Recipe

_PIPELINES = {"mlm": "fill-mask", "classify": "text-classification"}


def card(recipe: Recipe, provenance: Provenance) -> str:
    """The card as Markdown with the Hub's front matter."""
    return (
        "\n".join([*_front(provenance), *_what(provenance), *_how_well(provenance), *_how(recipe, provenance)]) + "\n"
    )


def _front(provenance: Provenance) -> list[str]:
    tags = [f"pipeline_tag: {pipeline}" for pipeline in [_pipeline(provenance)] if pipeline]
    return ["---", "library_name: transformers", *tags, "tags: [bertwright]", "---", ""]


def _pipeline(provenance: Provenance) -> str | None:
    return next((_PIPELINES[part] for part in provenance.task.split("+") if part in _PIPELINES), None)


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
    use = [
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        f'pipeline("{_pipeline(provenance) or "feature-extraction"}", model="PATH_OF_THIS_FOLDER")',
        "```",
        "",
    ]
    recipe_lines = ["## Recipe", "", "```toml", recipe.write().strip(), "```", ""]
    return [*use, *recipe_lines, "```json", json.dumps(facts, indent=1, ensure_ascii=False), "```"]
