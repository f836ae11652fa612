"""Sentence embeddings: a text becomes a vector, near to those of texts that mean the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.base import Encoder
from ..errors import InputError, RecipeError
from ..flow import Batch, Example, Loss, Row
from ..seeds import Draws
from ..sums import correlation, ratio
from .base import LabelledTask, Verdict, Verdicts
from .fields import number_of, side_of, where
from .ranks import spearman
from .sequences import means


@dataclass(frozen=True, kw_only=True)
class Embed(LabelledTask):
    """The mean of a text's token vectors, compared by their cosine (Reimers & Gurevych, "Sentence-BERT", 2019).

    A row is a pair of texts, in the columns `first` and `second`. Without a score the two belong together: the first is
    to find its second among other ones of `group` pairs of a step, by a softmax over their cosines times `scale`
    (Henderson et al., 2017; MultipleNegativesRankingLoss in sentence-transformers). With a score in `label_field` the
    cosine learns it, from 0 for the `lowest` to 1 for the `highest`, by its squared error. sentence-transformers loads
    what is saved.
    """

    hf_class = ""
    cuts = True
    grades = True

    first: str = "text_a"
    second: str = "text_b"
    label_field: str = "score"
    group: int = 32
    scale: float = 20.0
    lowest: float | None = None
    """Of the scores in the training rows if not given, as the highest."""
    highest: float | None = None

    def __post_init__(self) -> None:
        if self.group < 2:
            raise RecipeError(f"{self.name}.group is at least 2 pairs, of which each finds its own, not {self.group}")
        if not self.scale > 0:
            raise RecipeError(f"{self.name}.scale is a number above 0, not {self.scale}")

    def files(self, encoder: Encoder) -> dict[str, str]:
        """The parts of a SentenceTransformer: this checkpoint, and the mean over tokens."""
        parts = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
        modules = [
            {"idx": at, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (name, path, kind) in enumerate(parts)
        ]
        pooling = {"word_embedding_dimension": encoder.config.hidden_size, "pooling_mode_mean_tokens": True}
        longest = {"max_seq_length": encoder.config.max_position_embeddings, "do_lower_case": False}
        made = {"modules.json": modules, "1_Pooling/config.json": pooling, "sentence_bert_config.json": longest}
        return {path: json.dumps(content, indent=2) + "\n" for path, content in made.items()}

    def settled(self, rows: Iterable[Row]) -> Embed:
        """Looks at both texts of each row, and takes the scale of the scores from them where there are some.

        Raises InputError where only some of the rows have a score.
        """
        scores, without = [], None
        for row in rows:
            for name in (self.first, self.second):
                side_of(row, name)
            if row.fields.get(self.label_field) is None:
                without = without or row
            else:
                scores.append(number_of(row, self.label_field))
        if scores and without is not None:
            raise InputError(
                f"{where(without)}: column {self.label_field!r} is empty, and other rows have a score in it"
            )
        if not scores:
            return self
        lowest = min(scores) if self.lowest is None else self.lowest
        highest = max(scores) if self.highest is None else self.highest
        if not lowest < highest:
            raise InputError(f"column {self.label_field!r} holds no two different scores: {lowest} to {highest}")
        return dataclasses.replace(self, lowest=lowest, highest=highest)

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        """The two texts of a row, or the first alone where there is no column for a second."""
        columns = [self.first, self.second] if self.second in item.fields else [self.first]
        room = item.length - 2
        texts = [item.vocabulary.single(item.encode(side_of(item, name))[:room]) for name in columns]
        scored = len(texts) == 2 and item.fields.get(self.label_field) is not None
        yield Example.joined(texts, {self.name: number_of(item, self.label_field)} if scored else {})

    def gathered(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Pairs without scores in groups, each of which finds its own second text in its group."""
        stream = iter(examples)
        while some := list(islice(stream, self.group)):
            alone = [one for one in some if self.name in one.labels]
            yield from alone
            if pairs := [one for one in some if self.name not in one.labels]:
                yield Example.joined(pairs, {})

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """At each pair's first text the score; or, as a whole number, which of its group's pairs is the first with the
        same second text.

        Raises InputError for texts without a second one, and where only some have scores.
        """
        if any(len(one) % 2 for one in batch.examples):
            raise InputError(
                f"a row without a column {self.second!r} cannot be learned from or judged by ({self.name})"
            )
        scored = [self.name in example.labels for example in examples]
        if any(scored) != all(scored):
            raise InputError(f"only some rows have a score in column {self.label_field!r}; all have one, or none")
        positions = batch.firsts[::2].contiguous()
        if all(scored):
            return self._labelled(batch, positions, torch.tensor([one.labels[self.name] for one in examples]))
        places = [place for example in examples for place in _first_alike(example)]
        return self._labelled(batch, positions, torch.tensor(places))

    def asks(self, batch: Batch) -> Batch:
        return self._labelled(batch, batch.firsts, torch.zeros_like(batch.firsts))

    def _labelled(self, batch: Batch, positions: Tensor, values: Tensor) -> Batch:
        return batch.reading(batch.indices).labelled(self.name, positions, values)

    def head(self, encoder: Encoder) -> nn.Module:
        """None: a mean has no weights."""
        return nn.Identity()

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[M, H] the vectors of the texts that begin at the labelled positions."""
        return {self.name: self._vectors(encoder, batch)[batch.sequences_of(batch.labels[self.name].positions)]}

    def _vectors(self, encoder: Encoder, batch: Batch) -> Tensor:
        """[S, H] the mean over each sequence, [CLS] and [SEP] included, as sentence-transformers has it."""
        return means(encoder(batch), batch)

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Of pairs the cross-entropy of finding the second text, of scored ones the cosine's squared error."""
        unit = F.normalize(self._vectors(encoder, batch), dim=-1)
        true = batch.labels[self.name].values
        total, measures = (self._by_score if true.is_floating_point() else self._by_pair)(unit, true, batch)
        measures |= {"loss": total.detach(), "pairs": true.new_full((), len(true))}
        return Loss({self.name: total}, {f"{self.name}.{key}": value for key, value in measures.items()})

    def _by_pair(self, unit: Tensor, true: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        total, correct = unit.new_zeros(()), unit.new_zeros(())
        for texts, places in zip(batch.examples, true.split([len(one) // 2 for one in batch.examples]), strict=True):
            own = unit[texts.start : texts.stop]
            right = torch.arange(len(places), device=places.device)
            alike = (places[:, None] == places).fill_diagonal_(False)
            # In fp32: products in bf16 would blur cosines that differ by less than 0.004.
            with torch.autocast(unit.device.type, enabled=False):
                cosines = (own[::2] @ own[1::2].T).masked_fill(alike, float("-inf"))
            total = total + F.cross_entropy(cosines * self.scale, right, reduction="sum")
            correct = correct + (cosines.detach().argmax(1) == right).sum()
        return total, {"correct": correct}

    def _by_score(self, unit: Tensor, true: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        cosines = (unit[::2] * unit[1::2]).sum(1)
        total = (cosines - self._wanted(true)).square().sum()
        x, y = true.double(), cosines.detach().double()
        return total, {"moments": torch.stack((torch.ones_like(x), x, y, x * x, y * y, x * y), 1).sum(0)}

    def _wanted(self, scores: Tensor) -> Tensor:
        """The cosines that stand for scores."""
        lowest, highest = self.lowest or 0.0, 1.0 if self.highest is None else self.highest
        return (scores - lowest) / (highest - lowest)

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss a pair; of pairs how many firsts find their second, of scored ones Pearson's correlation."""
        pairs = sums[f"{self.name}.pairs"]
        report = {f"{self.name}.loss": ratio(sums[f"{self.name}.loss"], pairs)}
        if f"{self.name}.moments" in sums:
            return {**report, f"{self.name}.pearson": correlation(sums[f"{self.name}.moments"])}
        return {**report, f"{self.name}.accuracy": ratio(sums[f"{self.name}.correct"], pairs)}

    def grade(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Spearman's correlation of scores and cosines."""
        if any(row.fields.get(self.label_field) is None for row in rows):
            return {}
        true = [number_of(row, self.label_field) for row in rows]
        return {f"{self.name}.spearman": spearman(true, [answer["predicted"] for answer in answers])}

    def score(self, report: Mapping[str, float]) -> float:
        """The correlation with the scores, or what finding pairs has cost."""
        return report.get(f"{self.name}.pearson", -report[f"{self.name}.loss"])

    def check(self, row: Row) -> None:
        """Pairs are learned from without a score."""

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """The vector of each text of a row, and as what is predicted the cosine where there are two."""
        vectors = self.logits(encoder, head, self.asks(batch))[self.name]
        unit = F.normalize(vectors, dim=-1)
        said = []
        for texts in batch.examples:
            own = unit[texts.start : texts.stop]
            cosine = {"predicted": float((own[0] * own[1]).sum())} if len(texts) == 2 else {}
            said.append({**cosine, "embeddings": vectors[texts.start : texts.stop].tolist()})
        return said

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The loss of a row is the squared error of its cosine: of pairs without a score, from 1."""
        said = [answer["predicted"] for answer in answers]
        if any(row.fields.get(self.label_field) is None for row in rows):
            return Verdicts([Verdict(None, x, None, (1 - x) ** 2) for x in said])
        true = [number_of(row, self.label_field) for row in rows]
        wanted = self._wanted(torch.tensor(true, dtype=torch.float64)).tolist()
        facts = zip(true, said, wanted, strict=True)
        return Verdicts([Verdict(score, x, None, (x - goal) ** 2) for score, x, goal in facts])


def _first_alike(group: Example) -> list[int]:
    """For each pair of a group the first one whose second text is the same."""
    seconds = [part.tobytes() for part in np.split(group.ids, np.cumsum(group.lengths))[1::2]]
    return [seconds.index(second) for second in seconds]
