"""The recipes that come with the package, and how settings are laid over one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..named import find
from ..tasks.base import Task
from ..tasks.joint import WEIGHTS
from .choose import file_names
from .spec import load

DEFAULT = "modern"
"""What learned most in equal time where it was measured (see the recipe's header)."""

_REPLACED = {
    "train": {"steps": ("epochs", "budget"), "epochs": ("steps", "budget"), "budget": ("steps", "epochs"),
              "batch_size": ("start_batch_size",)},
    "data": {"length": ("start_length",)},
}  # fmt: skip
"""What a setting of a recipe gives way to when another one is given."""


def recipe_for(objective: str | None) -> str:
    """The shipped recipe that an objective starts from where no other is asked for."""
    parts = [find("bertwright.tasks", part, Task) for part in objective.split("+")] if objective else []
    return next((part.recipe for part in parts if part.recipe), DEFAULT)


def tables_of(recipe: str) -> dict[str, Any]:
    """The tables of a shipped recipe by its name, or of a TOML file. Raises RecipeError when there is no such one."""
    if recipe.endswith(".toml"):
        return load(Path(recipe))
    path = _folder() / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in _folder().glob("*.toml")))
        raise RecipeError(f"no recipe is called {recipe!r}; shipped are {known}, and FILE.toml is one of your own")
    return load(path)


def laid_over(tables: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's tables with what was given in place of theirs, and of what goes with theirs."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
    for name, replaced in _REPLACED.items():
        gone = {other for setting in given.get(name, {}) for other in replaced.get(setting, ())}
        if gone & merged.get(name, {}).keys():
            merged[name] = {key: value for key, value in merged[name].items() if key not in gone}
    if "task" in given:
        merged["tasks"] = _those_of(merged.get("tasks", {}), file_names(given["task"]))
        if any(find("bertwright.tasks", part, Task).arch for part in given["task"].split("+")):
            merged["encoder"] = {key: x for key, x in merged.get("encoder", {}).items() if key != "arch"}
    for key, value in given.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, Mapping) else value
    return merged


def _those_of(tables: Mapping[str, Mapping[str, Any]], parts: list[str]) -> dict[str, Any]:
    """The settings of these tasks, and their weights where they are several."""
    weights = {name: weight for name, weight in tables.get(WEIGHTS, {}).items() if name in parts}
    kept = {name: table for name, table in tables.items() if name in parts}
    return kept | ({WEIGHTS: weights} if weights and len(parts) > 1 else {})


def _folder() -> Path:
    """In an installed package beside its code, in a checkout beside `src`."""
    package = Path(__file__).resolve().parents[1]
    return package / "recipes" if (package / "recipes").is_dir() else package.parents[1] / "recipes"
