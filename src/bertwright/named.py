"""The folder is the registry: a name is a file, and the file holds one class.

`"mlm"` in the package `bertwright.tasks` is the one concrete subclass of `Task` that `bertwright/tasks/mlm.py` defines;
`"path/to/mine.py:Mine"` is the class `Mine` of a person's own file. There is no list to edit.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from .errors import RecipeError

T = TypeVar("T")


def names(package: str) -> list[str]:
    """The names that a package's folder offers."""
    folder = importlib.import_module(package)
    return sorted(
        m.name for m in pkgutil.iter_modules(folder.__path__) if getattr(folder, "PLUMBING", ()).count(m.name) == 0
    )


def find(package: str, name: str, kind: type[T]) -> type[T]:
    """The class that `name` stands for, a concrete subclass of `kind`.

    Raises RecipeError when there is no such file, when it is no Python, or does not hold exactly one such class.
    """
    if ".py" in name:
        path, _, wanted = name.partition(":")
        return _the_class(_load_file(Path(path)), kind, wanted or None, path)
    if name not in names(package):
        near = get_close_matches(name, names(package), 1)
        meant = f"did you mean {near[0]}? Known are" if near else "known are"
        known = ", ".join(names(package))
        raise RecipeError(f"unknown {kind.__name__.lower()} {name!r}; {meant} {known}, or your own as file.py:Class")
    return _the_class(importlib.import_module(f"{package}.{name}"), kind, None, name)


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bertwright.own.{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise RecipeError(f"{path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name while they are made.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise RecipeError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    return module


def _the_class(module: ModuleType, kind: type[T], wanted: str | None, asked: str) -> type[T]:
    own = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, kind) and not inspect.isabstract(c) and c.__module__ == module.__name__
    ]
    chosen = [c for c in own if wanted in (None, c.__name__)]
    if len(chosen) != 1:
        found = ", ".join(c.__name__ for c in own) or "none"
        raise RecipeError(f"{asked}: expected one concrete {kind.__name__}, found {found}; name it as {asked}:Class")
    return chosen[0]
