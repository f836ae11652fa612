"""Where a model is wrong: which classes it takes for which, and the held-out rows that it finds least likely.

RUN/confusion.csv       how many rows, or tokens, of each class (a line) were said to be of each (a column)
RUN/worst.jsonl         the rows with the highest loss, the worst first, with what was said of them
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..files import write_text
from ..flow import Row
from ..tasks.base import Confusion, Verdicts
from ..tasks.model import Model
from ..text.labelled import line_of
from .answers import ROWS_AHEAD, answered

CONFUSION, WORST = "confusion.csv", "worst.jsonl"
KEPT = 100
_NAMED = 5


def verdicts_on(model: Model, rows: Sequence[Row], precision: str, micro_tokens: int) -> Verdicts | None:
    """The verdicts of the model's task on labelled rows; None where there are none, or it has nothing of the sort."""
    for task, _ in model.task.answering(model.head):
        parts = [rows[start : start + ROWS_AHEAD] for start in range(0, len(rows), ROWS_AHEAD)]
        answers = [*chain.from_iterable(answered(model, part, precision, micro_tokens) for part in parts)]
        return task.verdicts(rows, answers) if answers else None
    return None


def write(folder: Path, verdicts: Verdicts, rows: Sequence[Row]) -> None:
    """Writes what there is of both files into a folder."""
    if verdicts.confusion is not None:
        write_text(folder / CONFUSION, _table(verdicts.confusion))
    write_text(folder / WORST, "".join(f"{line}\n" for line in _worst(verdicts, rows)))


def _table(confusion: Confusion) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true", *confusion.classes])
    for true in confusion.classes:
        writer.writerow([true, *(confusion.counts.get((true, said), 0) for said in confusion.classes)])
    return text.getvalue()


def _worst(verdicts: Verdicts, rows: Sequence[Row]) -> Iterator[str]:
    order = sorted(range(len(rows)), key=lambda at: -verdicts.rows[at].loss)
    for at in order[:KEPT]:
        where = getattr(rows[at].fields, "where", f"row {at + 1}")
        said = {name: value for name, value in verdicts.rows[at]._asdict().items() if value is not None}
        yield line_of({**rows[at].fields, "row": where, **said})


def for_card(verdicts: Verdicts) -> list[str]:
    """What the model card says: which mistakes are the most frequent, and where the others are listed."""
    worst = f"In the run's folder `{WORST}` lists the held-out rows of highest loss, the worst first, {KEPT} at most"
    if verdicts.confusion is None:
        return ["## Mistakes", "", f"{worst}.", ""]
    counted = f"`{CONFUSION}` counts every class against every other"
    return ["## Mistakes", "", *_commonest(verdicts.confusion), f"{worst}; {counted}.", ""]


def _commonest(confusion: Confusion) -> list[str]:
    whole = sum(confusion.counts.values())
    wrong = Counter({pair: n for pair, n in confusion.counts.items() if pair[0] != pair[1]})
    lines = [f"Of {whole:,} held-out {confusion.of} {wrong.total():,} were given a wrong class.", ""]
    if wrong:
        lines += [f"| true | said | {confusion.of} |", "|---|---|---|"]
        lines += [f"| {_cell(true)} | {_cell(said)} | {n} |" for (true, said), n in wrong.most_common(_NAMED)]
        lines += [""]
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
