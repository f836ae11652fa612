"""The public names and the command line, pinned: whatever changes here changes under somebody's feet.

`python tests/contract/test_public_surface.py` writes the list anew, for a change that is meant.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import transformers

import bertwright

SNAPSHOT = Path(__file__).with_name("public_surface.json")


def command_line() -> dict[str, list[str]]:
    """Verb -> its arguments and options, as a person writes them; read off the app without running it."""
    from typer.main import get_command

    from bertwright.cli import app

    return dict(_verbs(get_command(app)))


def _verbs(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, list[str]]]:
    found = [(" ".join(words) or "bertwright", [_written(p) for p in command.params])]
    if hasattr(command, "list_commands"):
        context = command.make_context("bertwright", [], resilient_parsing=True)
        for name in command.list_commands(context):
            found += _verbs(command.get_command(context, name), (*words, name))
    return found


def _written(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = "/".join([*parameter.opts, *parameter.secondary_opts]) if is_option else parameter.name.upper()
    value = " VALUE" if is_option and not parameter.is_flag else ""
    plenty = "..." if parameter.multiple or parameter.nargs != 1 else ""
    return f"{names}{value}{plenty}{' (required)' if is_option and parameter.required else ''}"


def surface() -> dict[str, Any]:
    return {"python": list(bertwright.__all__), "command line": command_line()}


def test_the_public_surface_is_as_pinned() -> None:
    assert surface() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["AutoTokenizer", "DataCollatorForTokenClassification", "pipeline"])
def test_other_names_of_transformers_are_handed_on(name: str) -> None:
    assert getattr(bertwright, name) is getattr(transformers, name)


def test_a_folder_is_never_one_of_transformers() -> None:
    from bertwright import data

    assert transformers.data.__name__ == "transformers.data"
    assert data.__name__ == "bertwright.data"


@pytest.mark.parametrize("name", bertwright.__all__)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(bertwright, name) is getattr(bertwright, name)
    assert name in dir(bertwright)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="neither bertwright nor transformers has the name 'Bert'"):
        bertwright.Bert  # noqa: B018


def test_editors_see_the_names_that_are_loaded_lately() -> None:
    """What the `if TYPE_CHECKING` block imports for editors is what `__getattr__` will fetch."""
    tree = ast.parse(inspect.getsource(bertwright))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        home = "bertwright" * bool(node.level) + "." * bool(node.level and node.module) + (node.module or "")
        seen |= {alias.asname or alias.name: (home, alias.name) for alias in node.names}
    assert {*seen, "__version__"} == set(bertwright.__all__)
    for name, (home, there) in seen.items():
        module = importlib.import_module(home)
        assert getattr(bertwright, name) is getattr(module, there)


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
