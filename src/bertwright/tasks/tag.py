"""Tagging: every token of a sentence gets a tag, as in named entities and parts of speech."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import InputError
from ..flow import Batch, Example, Row
from ..nn.dropout import Dropout
from ..seeds import Draws
from ..sums import ratio
from .base import Confusion, LabelledTask, Verdict, Verdicts
from .entities import completed, entities, matched, of_entities
from .fields import (
    classes_of,
    known,
    named_classes,
    numbers_first,
    refuse_twice,
    refuse_unlabelled,
    spelled,
    value_of,
    where,
)
from .lists import list_of
from .pooled import PooledTask
from .windows import windows


@dataclass(frozen=True, kw_only=True)
class Tag(PooledTask, LabelledTask):
    """One tag a token, predicted from its first piece (Devlin et al., NAACL 2019, section 5.3).

    `text_field` holds the tokens and `label_field` as many tags, both lists or texts with spaces between; where there
    are no tokens they are the words of a column `text`. A sentence that is longer than a sequence goes in windows, a
    quarter of each shared with its neighbour; each token is tagged once. A token of which the tokenizer keeps nothing
    becomes [UNK], so that every token has a tag.
    """

    hf_class = "TokenClassification"
    cuts = True
    pipeline = "token-classification"
    grades = True

    text_field: str = "tokens"
    label_field: str = "tags"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_twice(self.classes, self.name)

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Self:
        return cls(classes=classes_of(config))

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where its tags are the same, in the same order."""
        return not name.startswith("classifier.") or classes_of(config) == self.classes

    def config_changes(self) -> dict[str, Any]:
        return named_classes(self.classes)

    def settled(self, rows: Iterable[Row]) -> Tag:
        """Reads the tags off the rows; of entities also those that did not occur, as `I-` where there is `B-`."""
        if self.classes:
            return self
        found = completed({tag for row in rows for tag in self._tags(row, value_of(row, self.label_field))})
        if len(found) < 2:
            raise InputError(f"column {self.label_field!r} holds {len(found)} tag; at least 2 are needed to tell apart")
        return dataclasses.replace(self, classes=tuple(sorted(found, key=numbers_first)))

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        """The windows of a sentence; `places` in a window's ids are those of its own `tokens`."""
        tokens = self._tokens(item)
        value = item.fields.get(self.label_field)
        tags = (
            None if value is None else np.array([self._class(item, tag) for tag in self._tags(item, value)], np.int64)
        )
        ids, firsts = pieces(item, tokens)
        room = item.length - 2
        for window in windows(len(ids), room, room // 4) if tokens else ():
            mine = np.arange(*np.searchsorted(firsts, (window.mine, window.mine_end)))
            known = {"places": firsts[mine] - window.start + 1, "tokens": mine}
            known |= {} if tags is None else {self.name: tags[mine]}
            yield dataclasses.replace(item.vocabulary.single(ids[window.start : window.end]), labels=known)

    def _tokens(self, row: Row) -> list[str]:
        name = "text" if self.text_field not in row.fields and "text" in row.fields else self.text_field
        return [*map(str, list_of(row, name, value_of(row, name)))]

    def _tags(self, row: Row, value: Any) -> list[str]:
        tags, tokens = [*map(spelled, list_of(row, self.label_field, value))], self._tokens(row)
        if len(tags) != len(tokens):
            raise InputError(f"{where(row)}: {len(tokens)} tokens and {len(tags)} tags; each token has one")
        return tags

    def _class(self, row: Row, tag: str) -> int:
        if tag not in self.classes:
            raise InputError(f"{where(row)}: tag {tag!r} is unknown to the model, whose tags are {known(self.classes)}")
        return self.classes.index(tag)

    @property
    def number_of_classes(self) -> int:
        return len(self.classes)

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for a sentence without tags."""
        refuse_unlabelled(examples, self.name)
        places = [
            example.labels["places"] + first for example, first in zip(examples, batch.firsts.numpy(), strict=True)
        ]
        tags = np.concatenate([example.labels[self.name] for example in examples])
        return batch.labelled(self.name, torch.from_numpy(np.concatenate(places)), torch.from_numpy(tags))

    def asks(self, batch: Batch) -> Batch:
        return batch.labelled(self.name, batch.indices, torch.zeros_like(batch.ids))

    def head(self, encoder: Encoder) -> nn.Module:
        """Dropout and a layer of one output a tag: transformers' ...ForTokenClassification."""
        output = called(nn.Linear(encoder.config.hidden_size, len(self.classes)), "classifier")
        parts = {"pooler": encoder.token_pooler(), "dropout": Dropout(encoder.head_dropout), "output": output}
        return nn.Sequential(OrderedDict(parts))

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a token, and accuracy."""
        loss, confusion = self._sums(sums)
        return {
            f"{self.name}.loss": ratio(loss, confusion.sum()),
            f"{self.name}.accuracy": ratio(confusion.trace(), confusion.sum()),
        }

    def grade(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Precision, recall and F1 of whole entities, where tags are those of entities."""
        if not of_entities(self.classes):
            return {}
        true = (self._tags(row, value_of(row, self.label_field)) for row in rows)
        tags = zip(true, (answer["predicted"] for answer in answers), strict=True)
        expected, said, both = matched(tags)
        report = {
            "precision": both / max(1, said),
            "recall": both / max(1, expected),
            "f1": 2 * both / max(1, said + expected),
        }
        return {f"{self.name}.{key}": value for key, value in report.items()}

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The loss of a sentence is the number of its wrong tags; tokens are counted, not rows."""
        each, counts = [], Counter[tuple[str, str]]()
        for row, answer in zip(rows, answers, strict=True):
            both = list(zip(self._tags(row, value_of(row, self.label_field)), answer["predicted"], strict=True))
            counts.update(both)
            each.append(
                Verdict([true for true, _ in both], answer["predicted"], None, float(sum(a != b for a, b in both)))
            )
        return Verdicts(each, Confusion(self.classes, counts, "tokens"))

    def score(self, report: Mapping[str, float]) -> float:
        """F1 of entities where whole sentences were judged for them, else accuracy."""
        return report.get(f"{self.name}.f1", report[f"{self.name}.accuracy"])

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Of each window, for each of its T ids, the `tag` and its `probability`, [T] each."""
        shares, tags = self.logits(encoder, head, self.asks(batch))[self.name].float().softmax(-1).cpu().max(-1)
        cut = zip(tags.split(batch.lengths), shares.split(batch.lengths), strict=True)
        return [{"tag": tag.numpy(), "probability": share.numpy()} for tag, share in cut]

    def together(self, row: Row, examples: Sequence[Example], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A tag for every token with its probability, and the entities with the first token after each."""
        cut = [(example.labels["places"], answer) for example, answer in zip(examples, answers, strict=True)]
        predicted = [self.classes[tag] for places, answer in cut for tag in answer["tag"][places]]
        shares = [float(share) for places, answer in cut for share in answer["probability"][places]]
        said = {"predicted": predicted, "probability": shares}
        if not of_entities(self.classes):
            return said
        tokens = self._tokens(row)
        found = [{**e._asdict(), "text": " ".join(tokens[e.start : e.end])} for e in entities(predicted)]
        return {**said, "entities": found}


def pieces(row: Row, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids [n] of tokens with a space between, and which of them is the first of each token [len(tokens)]."""
    ids, places = row.locate(" ".join(tokens))
    begins = np.cumsum([0, *(len(token) + 1 for token in tokens[:-1])])
    owners = np.maximum.accumulate(np.searchsorted(begins, places[:, 0], side="right") - 1) if len(ids) else ids
    lost = np.setdiff1d(np.arange(len(tokens)), owners)
    at = np.searchsorted(owners, lost)
    owners, ids = np.insert(owners, at, lost), np.insert(ids, at, row.vocabulary.unk)
    return ids, np.searchsorted(owners, np.arange(len(tokens)))
