"""docs/settings.md lists every setting of a recipe, with the default that the code has.

`python tests/contract/test_settings_page.py` writes it anew.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertwright.flow import Document, Row
from bertwright.run import choose, spec

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
TABLES = {"": spec.Recipe, "data": spec.Data, "encoder": spec.Encoder, "train": spec.Train, "evaluate": spec.Evaluate,
          "save": spec.Save}  # fmt: skip
HEAD = """# Settings

Every setting of a run that is not its task's own (those are in [tasks.md](tasks.md)): in a recipe under the table that
stands here, on the command line as `--set train.clip=0.5`. A default of two is that of tasks on text and that of tasks
on labelled rows. `bertwright pretrain` starts from the recipe `modern`, which sets several of them otherwise
(`recipes/modern.toml`); `finetune` and `train` start from these.
"""


def settings(kind: type) -> Iterator[tuple[str, Any, str]]:
    """The name of each field, its default and the text that stands below it."""
    (made,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(made, ast.ClassDef)
    for field, below in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            texts = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            text = " ".join(str(below.value.value).split()) if texts else ""  # type: ignore[union-attr]
            yield field.target.id, getattr(kind, field.target.id, None), text


def default(path: str, value: Any) -> str:
    """As people write it; what depends on what the task reads by `choose`'s own tables."""
    name = path.rpartition(".")[2]
    tables = {
        "train": [choose._DEFAULTS, choose._HOW_LONG],
        "save": [{reads: {"model": model} for reads, model in choose._MODEL.items()}],
        "evaluate": [{reads: {"examples": number} for reads, number in choose.HELDOUT_EXAMPLES.items()}],
    }
    for table in tables.get(path.partition(".")[0], []):
        both = [table[reads].get(name) for reads in (Document, Row)]
        if any(one is not None for one in both):
            return ", ".join("-" if one is None else f"{one:,}" if isinstance(one, int) else str(one) for one in both)
    return "" if value is None or value in ("", ()) else f"{value}"


def page() -> str:
    lines = [HEAD]
    for table, kind in TABLES.items():
        title, about = (f"`[{table}]`", f"{inspect.getdoc(kind)}\n\n") if table else ("At the top", "")
        lines.append(f"## {title}\n\n{about}| setting | default | what it is |\n|---|---|---|")
        for name, value, text in settings(kind):
            if table or name not in (*TABLES, "tasks"):
                lines.append(f"| `{name}` | {default(f'{table}.{name}', value)} | {text} |")
        lines[-1] += "\n"
    return "\n".join(lines)


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("kind", TABLES.values())
def test_every_setting_is_explained(kind: type) -> None:
    unexplained = [name for name, _, text in settings(kind) if not text]
    assert unexplained == (["tasks", *filter(None, TABLES)] if kind is spec.Recipe else [])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
