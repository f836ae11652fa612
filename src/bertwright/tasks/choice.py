"""Multiple choice: which of several endings goes with a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..encoders.base import Encoder
from ..encoders.naming import called
from ..errors import InputError
from ..flow import Batch, Example, Loss, Row
from ..nn.rounding import in_even_rows
from ..seeds import Draws
from ..sums import ratio
from .base import Verdict, Verdicts, nats
from .fields import labelled, missing, pair_of, refuse_unlabelled, side_of, spelled, value_of, where
from .sequences import LabelledSequences


@dataclass(frozen=True, kw_only=True)
class Choice(LabelledSequences):
    """`[CLS] prompt [SEP] ending [SEP]` for each ending, a softmax over their scores (Zellers et al., "SWAG", 2018).

    `endings` names a column with a list of texts, or a column for each ending; a row has at least two, and rows may
    have different numbers of them. The label is the place of the right one, from 0, or its text.
    """

    hf_class = "MultipleChoice"
    cuts = True
    several = True

    prompt: str = "prompt"
    endings: tuple[str, ...] = ("endings",)
    label_field: str = "label"
    pooling: str = ""

    def continues(self, name: str, config: PretrainedConfig) -> bool:
        """The last layer goes on only where it scored endings before."""
        return not name.startswith("classifier.") or self.made(config)

    def examples(self, item: Row, rng: np.random.Generator) -> Iterator[Example]:
        """One example of a sequence an ending."""
        prompt, endings = item.encode(side_of(item, self.prompt)), self._endings(item)
        pairs = [pair_of(item, prompt, item.encode(ending)) for ending in endings]
        value = item.fields.get(self.label_field)
        yield labelled(
            Example.joined(pairs, {}), self.name, None if missing(value) else self._place(item, value, endings)
        )

    def _endings(self, row: Row) -> list[str]:
        one = value_of(row, self.endings[0]) if len(self.endings) == 1 else None
        if isinstance(one, str):
            raise InputError(
                f"{where(row)}: column {self.endings[0]!r} holds one text, and endings are a list of texts; where each "
                """has a column of its own, as it has to in .csv, name these: --set 'tasks.choice.endings=["a", "b"]'"""
            )
        found = one if isinstance(one, list | tuple) else [side_of(row, name) for name in self.endings]
        texts = [str(text) for text in found]
        if len(texts) < 2 or not all(text.strip() for text in texts):
            raise InputError(
                f"{where(row)}: a choice has at least 2 endings and none of them empty, and {', '.join(self.endings)} "
                f"holds {texts!r}"
            )
        return texts

    def _place(self, row: Row, label: Any, endings: Sequence[str]) -> int:
        found = [at for at, ending in enumerate(endings) if label == ending or spelled(label) == str(at)]
        if not found:
            raise InputError(
                f"{where(row)}: label {label!r} is no ending; accepted are 0 to {len(endings) - 1}, or an ending's text"
            )
        if len(found) > 1:
            places = " and ".join(map(str, found))
            raise InputError(
                f"{where(row)}: label {label!r} can mean the endings {places}; accepted is a place, as a number"
            )
        return found[0]

    def label(self, batch: Batch, examples: list[Example], rng: Draws) -> Batch:
        """Raises InputError for an example whose right ending is not known."""
        refuse_unlabelled(examples, self.name)
        return self._labelled(batch, torch.tensor([example.labels[self.name] for example in examples]))

    def asks(self, batch: Batch) -> Batch:
        return self._labelled(batch, torch.zeros(len(batch.examples), dtype=torch.long, device=batch.ids.device))

    def _labelled(self, batch: Batch, right: Tensor) -> Batch:
        """Each prediction stands at the first token of its example, and is made from those of all its sequences."""
        first = torch.tensor([one.start for one in batch.examples], device=batch.ids.device)
        return self.reading(batch).labelled(self.name, batch.firsts[first], right)

    def head(self, encoder: Encoder) -> nn.Module:
        """The pooler, dropout and a layer of one output: transformers' ...ForMultipleChoice."""
        output = called(nn.Linear(encoder.config.hidden_size, 1), "classifier")
        return self.sequence_head(encoder, encoder.choice_pooler(), output)

    def logits(self, encoder: Encoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """[examples, endings] with nothing where an example has fewer of them."""
        scores = in_even_rows(head, self.vectors(encoder, batch, batch.firsts)).squeeze(-1)
        parts = scores.split([len(one) for one in batch.examples])
        return {self.name: nn.utils.rnn.pad_sequence([*parts], batch_first=True, padding_value=float("-inf"))}

    def loss(self, encoder: Encoder, head: nn.Module, batch: Batch) -> Loss:
        """Cross-entropy; the measures are the loss, right ones, choices, and what chance would get right."""
        scores, right = self.logits(encoder, head, batch)[self.name].float(), batch.labels[self.name].values
        total = F.cross_entropy(scores, right, reduction="sum")
        correct = (scores.argmax(1) == right).sum()
        guessed = scores.new_full((), sum(1 / len(one) for one in batch.examples))
        chance = torch.stack((scores.new_full((), len(right)), guessed))
        measures = {"loss": total.detach(), "correct": correct, "chance": chance}
        return Loss({self.name: total}, {f"{self.name}.{key}": value for key, value in measures.items()})

    def report(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Loss in nats a choice, accuracy, and the accuracy of guessing."""
        choices, guessed = sums[f"{self.name}.chance"]
        return {
            f"{self.name}.loss": ratio(sums[f"{self.name}.loss"], choices),
            f"{self.name}.accuracy": ratio(sums[f"{self.name}.correct"], choices),
            f"{self.name}.chance": ratio(guessed, choices),
        }

    def score(self, report: Mapping[str, float]) -> float:
        return report[f"{self.name}.accuracy"]

    @property
    def answer_field(self) -> str:
        return self.label_field

    def answers(self, encoder: Encoder, head: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        shares = self.logits(encoder, head, self.asks(batch))[self.name].float().softmax(-1).tolist()
        own = [share[: len(one)] for share, one in zip(shares, batch.examples, strict=True)]
        return [
            {"predicted": int(np.argmax(share)), "probability": max(share), "probabilities": share} for share in own
        ]

    def verdicts(self, rows: Sequence[Row], answers: Sequence[Mapping[str, Any]]) -> Verdicts:
        """Right and wrong by the places of endings."""
        places = [self._place(row, value_of(row, self.label_field), self._endings(row)) for row in rows]
        return Verdicts(
            [
                Verdict(true, said["predicted"], said["probability"], nats(said["probabilities"][true]))
                for true, said in zip(places, answers, strict=True)
            ]
        )
