"""A trained model at work: labels for rows, words for masks, measures on held-out data."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any

import torch

from ..data.pack import pack
from ..data.plan import in_order
from ..data.rows import Rows
from ..encoders.base import Encoder
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..encoders.naming import FOLDER, Architecture, hf_names, reading
from ..errors import CheckpointError, InputError, RecipeError
from ..flow import Batch, Document, Example, Row
from ..named import find, names
from ..tasks.base import LabelledTask, Task
from ..tasks.mlm import MaskedLM
from ..tasks.model import Model
from ..tasks.pairs import OBJECTIVE
from ..text.tokenizer import Tokenizer
from ..train.loop import measure
from ..train.precision import device, products_in, resolve
from ..train.settled import settled
from ..train.waiting import Waiting
from .answers import ROWS_AHEAD, answered, graded, without
from .choose import task_of, with_columns
from .provenance import Provenance
from .sources import EVALUATION_SEED, check_rows, labelled_once, store_examples
from .spec import MICRO_TOKENS, SHORTEST

_FOLDER = "bertwright.tasks"
_LIKE_A_MASK = re.compile(r"[\[<]\s*mask\s*[]>]", re.IGNORECASE)


class Answerer:
    """A checkpoint with its head, ready to answer.

    `length` is the longest sequence: that of the rows it learned from where it is not given, else 128.
    `task` is asked of the checkpoint itself when it is not given; `columns` are its settings that name columns of rows,
    where these are called otherwise than those it learned from. Raises CheckpointError when the checkpoint has no head
    for the task, and RecipeError for a length that it cannot read, or a column that its task does not.
    """

    def __init__(
        self,
        checkpoint: str,
        task: Task | None = None,
        length: int | None = None,
        precision: str = "auto",
        columns: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = checkpoint_folder(checkpoint)
        self.tokenizer = Tokenizer.load(self.folder)
        source = Checkpoint.open(self.folder)
        self.task = task or task_of_checkpoint(source)
        if columns:
            self.task = with_columns(self.task, columns)
        self.model = Model(Encoder.from_pretrained(self.folder), self.task)
        if missing := source.load_into(self.model.head, hf_names(self.model.head)).missing:
            found = ", ".join(source.config.architectures or ["nothing with a name"])
            raise CheckpointError(
                f"{checkpoint} has no head for {self.task.name}: it is a {found} and lacks {missing[0]}"
            )
        self.model.to(device()).eval()
        record = Provenance.read(self.folder)
        learned = record.data.get("length") if record else None
        positions = self.model.encoder.config.max_position_embeddings
        if length is not None and not SHORTEST <= length <= positions:
            raise RecipeError(
                f"the length is {length}; accepted are {SHORTEST} to {positions}, the encoder's positions"
            )
        self.length = length or min(learned or 128, positions)
        self.precision = resolve(precision, device())

    def saying(self, model: Model) -> Answerer:
        """The same with another model, which answers in this one's place."""
        other = copy(self)
        other.model, other.task = model.eval(), model.task
        return other

    def predict(self, rows: Iterable[Mapping[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """Each row with what the model says of it, in order; a few thousand rows are held at a time.

        Raises RecipeError when the model's task is not one on rows, and InputError for a row with a column that is
        called as a part of the answer.
        """
        parts = [part for part, _ in self.task.answering(self.model.head)]
        if not parts:
            raise RecipeError(f"{self.folder} says nothing of rows: its task is {self.task.name}, for `fill`")
        stream = iter(rows)
        with settled(), Waiting() as waiting:
            while fields := list(islice(stream, ROWS_AHEAD)):
                unlabelled = [without(one, parts[0].answer_field) for one in fields]
                asked = Rows(unlabelled, self.tokenizer, self.length)
                with waiting.watching():
                    answers = answered(self.model, asked, self.precision, MICRO_TOKENS)
                for row, answer in zip(fields, answers, strict=True):
                    _refuse_taken(row, answer)
                    yield {**row, **answer}

    def evaluate_rows(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """The task's measures over labelled rows."""
        self._must_read(Row, "--store STORE")
        judged = Rows(rows, self.tokenizer, self.length)
        check_rows(self.task, judged)
        report = self._report(in_order(judged, self.task.examples, EVALUATION_SEED))
        return report | graded(self.model, judged, self.precision, MICRO_TOKENS)

    def evaluate_store(self, store: str, examples: int = 0) -> dict[str, float]:
        """The task's measures over a store's held-out part, `examples` of it or (0) all, with fixed masks."""
        self._must_read(Document, "--input FILE")
        return self._report(store_examples(store, self.task, self.tokenizer, self.length, examples))

    def _must_read(self, kind: type, instead: str) -> None:
        if self.task.reads is not kind:
            raise RecipeError(f"{self.folder} is judged by something else: its task is {self.task.name}; use {instead}")

    def _report(self, examples: Iterable[Example]) -> dict[str, float]:
        batches = labelled_once(self.task, examples, self.tokenizer, MICRO_TOKENS)
        sums = measure(self.model, batches, self.precision)
        if not sums:
            raise InputError(f"there is nothing to judge {self.folder} by: no held-out text, or no rows")
        return self.task.report(sums)

    @property
    def mask(self) -> str:
        """The token that stands for a hidden one."""
        return self.tokenizer.token(self.tokenizer.vocabulary.mask)

    @torch.inference_mode()
    def fill(self, text: str, top: int = 5) -> list[list[tuple[str, float]]]:
        """The `top` words and their probabilities for each [MASK] of a text.

        Raises InputError when there is no mask, or when the text is longer than the model takes, and RecipeError when
        there are not as many words.
        """
        ids = self.tokenizer.encode_with_special(text)
        vocabulary = self.tokenizer.vocabulary
        example = vocabulary.single(ids)
        if not 1 <= top <= vocabulary.size:
            raise RecipeError(f"top is a number of words from 1 to {vocabulary.size}, not {top}")
        if vocabulary.mask not in ids:
            raise InputError(f"the text has no {self.mask} to fill: {text!r}")
        longest = self.model.encoder.config.max_position_embeddings
        if len(example) > longest:
            raise InputError(f"the text has {len(example)} tokens; the model takes {longest}")
        batch = self._batch([example])
        places = (batch.ids == vocabulary.mask).nonzero().flatten() + (self.task.fills_from or 0)
        asked, encoder = batch.reading(places), self.model.encoder
        with products_in(self.precision, device()):
            logits = encoder.logits(self.model.head, encoder(asked)[asked.rows_at(places)])
        shares, words = logits.float().softmax(-1)[:, : vocabulary.size].topk(top)
        return [
            [(self.tokenizer.token(int(word)), float(share)) for word, share in zip(*place, strict=True)]
            for place in zip(words, shares, strict=True)
        ]

    def masks_misspelt(self, text: str) -> list[str]:
        """What looks like a mask in a text and is none to this model, as `<mask>`, each once."""
        return [found for found in dict.fromkeys(_LIKE_A_MASK.findall(text)) if found != self.mask]

    def _batch(self, group: Sequence[Example]) -> Batch:
        return pack(group, self.tokenizer.vocabulary).to(device())


def _refuse_taken(row: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Raises InputError for a row with a column that the answer would overwrite."""
    if taken := answer.keys() & row.keys():
        raise InputError(
            f"{getattr(row, 'where', 'a row')}: column {min(taken)!r} has the name of a part of the answer "
            f"({', '.join(answer)}); call it otherwise"
        )


def filler(checkpoint: str) -> Answerer:
    """A checkpoint's head that says hidden tokens, whatever other heads it has.

    Raises CheckpointError where it has none, as after learning to classify.
    """
    record = Provenance.read(checkpoint_folder(checkpoint))
    known = record.task.split("+") if record else []
    parts = [task_of(name, {}) for name in known if ".py" not in name]
    if record and len(parts) == len(known) and all(isinstance(part, LabelledTask) for part in parts):
        raise CheckpointError(
            f"{checkpoint} cannot fill masks: its task is {record.task}; a pretrained model can, as the one it is from"
        )
    return Answerer(checkpoint, next((part for part in parts if part.fills_from is not None), MaskedLM()))


def task_of_checkpoint(source: Checkpoint) -> Task:
    """The task that a checkpoint's heads are for: from its provenance, else from its class in transformers.

    A task of a person's own is not loaded on a checkpoint's word. Raises CheckpointError where there is no such task.
    """
    record = Provenance.read(source.path)
    if record is not None and ".py" not in record.task:
        parts = record.task.split("+")
        settings = record.settings if len(parts) > 1 else {parts[0]: record.settings}
        return task_of(record.task, settings)
    return _task_of_class(source)


def _task_of_class(source: Checkpoint) -> Task:
    kind = next(iter(source.config.architectures or []), "")
    for name in names(_FOLDER):
        task = find(_FOLDER, name, Task)
        fits = not task.arch or find(FOLDER, task.arch, Architecture) is reading(source.config.model_type)
        if fits and task.made(source.config):
            return task.of_config(source.config)
    if kind.endswith("ForPreTraining"):
        objective = getattr(source.config, OBJECTIVE, "nsp")
        # Of a sum with an objective of a person's own, the part that is known.
        return task_of(f"mlm+{objective}" if objective in names(_FOLDER) else "mlm", {})
    raise CheckpointError(f"{source.path} is a {kind or 'bare encoder'}, which has no head that a task here knows")
