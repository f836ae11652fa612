"""Minimal pairs: does a masked LM find the good sentence likelier than the bad one, paradigm by paradigm?

The form of the files and of the table is that of BLiMP (Warstadt et al., TACL 2020): each pair belongs to a paradigm
(`uid`), a phenomenon (`term`) and a `field` of linguistics.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..files import write_text
from .answering import filler
from .intervals import Interval, of_share
from .likelihood import SPACING, Likelihood, Text

SIDES = {"good": ("good", "sentence_good"), "bad": ("bad", "sentence_bad")}
GROUPS = {"field": ("field",), "term": ("term", "linguistics_term"), "uid": ("uid", "UID")}
"""The columns, each by the names that it may have, BLiMP's own among them."""
_ALL = "all"


class Pair(NamedTuple):
    """Two sentences, what they belong to, and where they stand."""

    good: str
    bad: str
    groups: Mapping[str, str]
    where: str


class Scored(NamedTuple):
    """A pair with both log-likelihoods in nats; `right` is 1, 0, or a half for a tie."""

    pair: Pair
    good: float
    bad: float

    @property
    def right(self) -> float:
        return float(self.good > self.bad) + 0.5 * (self.good == self.bad)

    def row(self) -> dict[str, Any]:
        """As it goes into a file."""
        sides = {"good": self.pair.good, "bad": self.pair.bad}
        return {**self.pair.groups, **sides, "good_score": self.good, "bad_score": self.bad, "right": self.right}


class Line(NamedTuple):
    """A line of the table: a group of pairs and the share that came out right."""

    kind: str
    """all, field, term or uid"""
    name: str
    pairs: int
    right: Interval


def pairs_of(rows: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """The pairs that rows hold. What they belong to may be missing, but then in all of them.

    Raises InputError for a row without one of the sentences, or without a group that the first row has.
    """
    found: list[Pair] = []
    for row in rows:
        where = getattr(row, "where", f"row {len(found) + 1}")
        groups = {kind: group for kind, names in GROUPS.items() if (group := _one(row, names)) is not None}
        missing = (found[0].groups.keys() if found else groups.keys()) - groups.keys()
        if missing:
            raise InputError(f"{where}: {' and '.join(sorted(missing))} is missing, which the first pair has")
        good, bad = (_sentence(row, side, names, where) for side, names in SIDES.items())
        found.append(Pair(good, bad, {kind: str(group) for kind, group in groups.items()}, where))
    return found


def _one(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _sentence(row: Mapping[str, Any], side: str, names: tuple[str, ...], where: str) -> str:
    text = _one(row, names)
    if not isinstance(text, str) or not text.strip():
        found = "is missing" if not any(name in row for name in names) else "is empty"
        found = f"is a {type(text).__name__}, not text" if text is not None and not isinstance(text, str) else found
        raise InputError(f"{where}: {' or '.join(map(repr, names))} {found}; a minimal pair has a good and a bad side")
    return text


class Judge:
    """Judges minimal pairs by a checkpoint's masked LM; `form` and `fast` are those of `likelihood.Likelihood`."""

    def __init__(self, checkpoint: str, form: str = "original", fast: bool = False) -> None:
        self._answerer = filler(checkpoint)
        self._likelihood = Likelihood(self._answerer, form, SPACING if fast else None)
        self.method = {"pll": form, "hides": f"every {SPACING}th token" if fast else "one token a copy"}

    def __call__(self, pairs: Sequence[Pair], progress: Callable[[int, int], None] = lambda *_: None) -> list[Scored]:
        """The pairs in their order. Raises InputError for a sentence of no tokens, or more than the model takes."""
        encoded = self._answerer.tokenizer.encode_words([side for pair in pairs for side in (pair.good, pair.bad)])
        texts = [Text(*text) for text in encoded]
        for at, text in enumerate(texts):
            if not 0 < len(text.ids) <= self._likelihood.longest:
                pair, side = pairs[at // 2], ("good", "bad")[at % 2]
                longest = self._likelihood.longest
                raise InputError(
                    f"{pair.where}: the {side} side has {len(text.ids)} tokens; accepted are 1 to {longest}"
                )
        scores = self._likelihood(texts, progress)
        return [Scored(pair, float(scores[2 * at]), float(scores[2 * at + 1])) for at, pair in enumerate(pairs)]


def table(scored: Sequence[Scored]) -> list[Line]:
    """All pairs, then each field, term and paradigm, in the order in which they come up.

    Raises InputError when there is no pair.
    """
    if not scored:
        raise InputError("there are no pairs to judge by")
    return [
        Line(kind, name, len(rights), of_share(sum(rights), len(rights)))
        for kind in (_ALL, *GROUPS)
        for name, rights in _by(kind, scored).items()
    ]


def _by(kind: str, scored: Sequence[Scored]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in scored:
        name = "pairs" if kind == _ALL else one.pair.groups.get(kind)
        if name is not None:
            found.setdefault(name, []).append(one.right)
    return found


def facts(lines: Iterable[Line], method: Mapping[str, str]) -> dict[str, Any]:
    """The table for JSON: `all`, and kind -> name -> number of pairs, accuracy and its interval of 95 %."""
    found: dict[str, Any] = dict(method)
    for line in lines:
        value, low, high = line.right
        entry = {"pairs": line.pairs, "accuracy": value, "low": low, "high": high}
        found |= {_ALL: entry} if line.kind == _ALL else {line.kind: {**found.get(line.kind, {}), line.name: entry}}
    return found


def written(lines: Sequence[Line]) -> Iterator[str]:
    """The table for people."""
    width = max(len(line.name) for line in lines)
    kind = ""
    for line in lines:
        if line.kind != kind:
            kind = line.kind
            yield f"{kind:<{width}}  {'pairs':>7}  {'right':>6}  95 % interval"
        value, low, high = (100 * number for number in line.right)
        yield f"{line.name:<{width}}  {line.pairs:>7,}  {value:>6.1f}  {low:.1f} to {high:.1f}"


def save(path: Path, scored: Iterable[Scored]) -> None:
    """Writes a line of JSON for each pair."""
    write_text(path, "".join(json.dumps(one.row(), ensure_ascii=False) + "\n" for one in scored))
