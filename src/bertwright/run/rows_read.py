"""Which labelled rows a run reads, for people: how many it learns from, is judged by, and does not read to the end."""

from __future__ import annotations

from collections.abc import Iterator

from ..amounts import amount
from ..data.shortened import Shortening
from .sources import Source
from .spec import Recipe


def rows_read(recipe: Recipe, source: Source) -> Iterator[str]:
    """Lines on the rows of a source; none where it is text."""
    if not isinstance(source.cut, Shortening):
        return
    rows, judged = amount(source.facts["rows"], "row"), f"{source.facts['dev_rows']:,}"
    kept = f"{judged} to judge by" if recipe.data.dev else f"{judged} kept to judge by (a tenth, as there is no --dev)"
    yield f"{rows} to learn from, {kept}{_classes(source)}."
    if cut := len(source.cut):
        be, length = "is" if cut == 1 else "are", recipe.data.length
        yield f"{cut:,} of {rows} {be} longer than {length} tokens and {be} cut there; --length reads more."


def _classes(source: Source) -> str:
    parts = getattr(source.task, "parts", (source.task,))
    found = next(filter(None, (getattr(part, "classes", ()) for part in parts)), ())
    return f"; {len(found)} classes" if found else ""
