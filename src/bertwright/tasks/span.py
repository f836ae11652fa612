"""Extractive question answering: where in a context the answer to a question begins and ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import InputError, RecipeError
from ..flow import Batch, Example, Loss, Row
from ..nn.rounding import in_even_rows
from ..seeds import Draws
from ..sums import ratio
from .base import LabelledTask, Verdict, Verdicts
from .fields import refuse_unlabelled, side_of, spelled, where
from .squad import Answer, answers_of, judged
from .windows import windows

_BEST = 20
"""Among how many answers the probability is shared out."""


@dataclass(frozen=True, kw_only=True)
class Span(LabelledTask):
    """`[CLS] question [SEP] context [SEP]`, each token scored as the start and the end (Devlin et al., 2019, 4.2, 4.3).

    A context that is longer than a sequence goes in windows that share `overlap` tokens, at most half of a window; a
    window without the answer is to point at [CLS]. The answer is the best span of any window of at most `longest`
    tokens; or none, where [CLS] in its least likely window beats that by `margin`, and `unanswerable` is set, as it is
    when training rows have no answer.
    """

    hf_class = "QuestionAnswering"
    cuts = True
    grades = True

    question_field: str = "question"
    context_field: str = "context"
    label_field: str = "answers"
    overlap: int = 64
    question_tokens: int = 64
    """How many tokens of a question are read, at most half of a sequence."""
    longest: int = 30
    unanswerable: bool | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        least = {
            "overlap": (self.overlap, 0),
            "question_tokens": (self.question_tokens, 1),
            "longest": (self.longest, 1),
        }
        for name, (value, lowest) in least.items():
            if value < lowest:
                raise RecipeError(f"{self.name}.{name} is at least {lowest}, not {value}")

    def config_changes(self) -> dict[str, Any]:
        return {"id2label": {0: "start", 1: "end"}, "label2id": {"start": 0, "end": 1}}

    def continues(self, name: str, config: Any) -> bool:
        """The last layer goes on only where it scored spans before: its name can be that of a classifier."""
        return not name.startswith(("classifier.", "qa_outputs.")) or self.made(config)

    def settled(self, rows: Iterable[Row]) -> Span:
        """Sees whether some questions have no answer; every answer is looked up in its context."""
        found = [self._answers(row) for row in rows]
        if not any(found):
            raise InputError(f"no row has an answer in column {self.label_field!r}; there is nothing to learn")
        return self if self.unanswerable is not None else dataclasses.replace(self, unanswerable=not all(found))

    def _answers(self, row: Row) -> list[Answer] | None:
        """The answers; None where the row does not say."""
        impossible = spelled(row.fields.get("is_impossible")).lower() in ("true", "1")
        value = [] if impossible else row.fields.get(self.label_field)
        if value is None:
            return None
        return answers_of(value, side_of(row, self.context_field), where(row))

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        """The windows of a context; `from` is where it begins in a window's ids, `places` [n, 2] are its characters."""
        context, answers = side_of(item, self.context_field), self._answers(item)
        question = item.encode(side_of(item, self.question_field))[: min(self.question_tokens, item.length // 2)]
        ids, places = item.locate(context)
        room = item.length - len(question) - 3
        for window in windows(len(ids), room, min(self.overlap, room // 2)):
            part = slice(window.start, window.end)
            known: dict[str, Any] = {"from": len(question) + 2, "places": places[part]}
            if answers is not None:
                known[self.name] = _inside(*_kept(answers, places), places[part], len(question) + 2)
            yield item.vocabulary.pair(question, ids[part], **known)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for a row that does not say what the answers are."""
        refuse_unlabelled(examples, self.name)
        ends = torch.tensor([example.labels[self.name] for example in examples])
        return self._labelled(batch, batch.firsts, ends)

    def asks(self, batch: Batch) -> Batch:
        places = batch.indices
        return self._labelled(batch, places, torch.zeros(batch.tokens, 2, dtype=torch.long, device=batch.ids.device))

    def _labelled(self, batch: Batch, positions: Tensor, ends: Tensor) -> Batch:
        batch = batch.reading(batch.indices)
        batch = batch.labelled(f"{self.name}.start", positions, ends[:, 0])
        return batch.labelled(f"{self.name}.end", positions, ends[:, 1])

    def head(self, encoder: Encoder) -> nn.Module:
        """A layer of two outputs, start and end: transformers' ...ForQuestionAnswering, which drops nothing."""
        return nn.Sequential(
            encoder.token_pooler(), called(nn.Linear(encoder.config.hidden_size, 2), encoder.spans_name)
        )

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[N] scores of every token as the start, and as the end."""
        rows = batch.rows_at(batch.indices)
        start, end = in_even_rows(head, encoder(batch)[rows]).unbind(-1)
        return {f"{self.name}.start": start, f"{self.name}.end": end}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Half the cross-entropy of starts and half that of ends, over the tokens of a window."""
        totals: dict[str, Tensor] = {}
        right = torch.ones(len(batch), dtype=torch.bool, device=batch.ids.device)
        for name, scores in self.logits(encoder, head, batch).items():
            table, true = _by_window(scores.float(), batch), batch.labels[name].values
            totals[name] = F.cross_entropy(table, true, reduction="sum") / 2
            right &= table.argmax(1) == true
        nats = torch.stack([total.detach() for total in totals.values()]).sum()
        measures = {"loss": nats, "right": right.sum(), "windows": nats.new_full((), len(batch))}
        return Loss(totals, {f"{self.name}.{key}": value for key, value in measures.items()})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a window, and in how many windows start and end are both right."""
        whole = sums[f"{self.name}.windows"]
        return {
            f"{self.name}.loss": ratio(sums[f"{self.name}.loss"], whole),
            f"{self.name}.windows": ratio(sums[f"{self.name}.right"], whole),
        }

    def grade(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Exact match and F1 by SQuAD's official rules."""
        scores = [judged(answer["predicted"], texts) for answer, texts in zip(answers, self._texts(rows), strict=True)]
        exact, f1 = np.mean(scores, 0)
        return {f"{self.name}.exact": float(exact), f"{self.name}.f1": float(f1)}

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The loss of an answer is what its F1 lacks."""
        said = zip(self._texts(rows), answers, strict=True)
        return Verdicts(
            [
                Verdict(true, one["predicted"], one["probability"], 1 - judged(one["predicted"], true)[1])
                for true, one in said
            ]
        )

    def _texts(self, rows: Iterable[Row]) -> list[list[str]]:
        return [[one.text for one in self._answers(row) or ()] for row in rows]

    def score(self, report: Mapping[str, float]) -> float:
        """F1 of answers where whole contexts were judged for them, else the loss."""
        return report.get(f"{self.name}.f1", -report[f"{self.name}.loss"])

    def check(self, row: Row) -> None:
        if self._answers(row) is None:
            super().check(row)

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Of each window, its T tokens' scores as `start` and as `end`, [T] each."""
        said = self.logits(encoder, head, self.asks(batch)).values()
        start, end = (scores.float().cpu().split(batch.lengths) for scores in said)
        return [{"start": one.numpy(), "end": other.numpy()} for one, other in zip(start, end, strict=True)]

    def together(self, row: Row, examples: Sequence[Example], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer's text, its first character in the context and the one after it, and its probability."""
        best: dict[tuple[int, int], float] = {}
        for example, answer in zip(examples, answers, strict=True):
            for place, score in _spans(example, answer, self.longest):
                best[place] = max(score, best.get(place, score))
        ranked = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:_BEST]
        scores = np.array([score for _, score in ranked])
        if self.unanswerable or not ranked:
            none = min(float(answer["start"][0] + answer["end"][0]) for answer in answers)
            scores = np.append(scores, none)
            if not ranked or none > scores[0] + self.margin:
                return {"predicted": "", "start": None, "end": None, "probability": _share(scores, len(scores) - 1)}
        (start, end), _ = ranked[0]
        text = str(row.fields[self.context_field])[start:end]
        return {"predicted": text, "start": start, "end": end, "probability": _share(scores, 0)}


def _kept(answers: Sequence[Answer], places: np.ndarray) -> tuple[int, int]:
    """Between which characters the first answer stands, as far as a context's tokens reach; 0 twice where nowhere."""
    if not answers or not len(places):
        return 0, 0
    return max(answers[0].start, int(places[0, 0])), min(answers[0].end, int(places[-1, 1]))


def _inside(start: int, end: int, places: np.ndarray, first: int) -> tuple[int, int]:
    """The answer's first and last token in a window's ids, whose context begins at `first`; where not, [CLS] twice."""
    if start >= end or start < places[0, 0] or end > places[-1, 1]:
        return 0, 0
    begin = int(np.searchsorted(places[:, 1], start, side="right"))
    last = int(np.searchsorted(places[:, 0], end, side="left")) - 1
    return (first + begin, first + last) if begin <= last else (0, 0)


def _by_window(scores: Tensor, batch: Batch) -> Tensor:
    """[N] -> [S, T], with nothing where a sequence is shorter."""
    table = scores.new_full((len(batch), max(batch.lengths)), float("-inf"))
    return table.index_put((batch.sequences_of(batch.indices), batch.positions), scores)


def _spans(example: Example, answer: Mapping[str, np.ndarray], longest: int) -> Iterator[tuple[tuple[int, int], float]]:
    """The best spans of a window: their characters, and the sum of both scores."""
    places, first = example.labels["places"], example.labels["from"]
    starts, ends = (answer[side][first : first + len(places)].astype(np.float64) for side in ("start", "end"))
    allowed = np.triu(np.tril(np.ones((len(places), len(places)), dtype=bool), longest - 1))
    first_tokens, last_tokens = np.nonzero(allowed)
    sums = starts[first_tokens] + ends[last_tokens]
    for at in np.argsort(-sums, kind="stable")[:_BEST]:
        yield (int(places[first_tokens[at], 0]), int(places[last_tokens[at], 1])), float(sums[at])


def _share(scores: np.ndarray, at: int) -> float:
    shares = np.exp(scores - scores.max())
    return float(shares[at] / shares.sum())
