"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .spec import load

DEFAULT = "modern"
"""What measured best at equal time, on English and on Russian (see the recipe's header)."""


def tables_of(recipe: str) -> dict[str, Any]:
    """The tables of a shipped recipe by its name, or of a TOML file. Raises RecipeError when there is no such one."""
    if recipe.endswith(".toml"):
        return load(Path(recipe))
    path = _folder() / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in _folder().glob("*.toml")))
        raise RecipeError(f"no recipe is called {recipe!r}; shipped are {known}, and FILE.toml is one of your own")
    return load(path)


def _folder() -> Path:
    """In an installed package beside its code, in a checkout beside `src`."""
    package = Path(__file__).resolve().parents[1]
    return package / "recipes" if (package / "recipes").is_dir() else package.parents[1] / "recipes"
