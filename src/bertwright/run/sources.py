"""What a run learns from and is judged by: a token store for tasks on text, labelled files for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest, sha256
from itertools import chain, tee
from pathlib import Path
from typing import Any

from ..data.feed import Feed, once
from ..data.plan import Cut, Plan, in_order
from ..data.rows import Rows
from ..data.shortened import Shortening
from ..data.stages import Stages, growing
from ..data.store import Part, TokenStore
from ..encoders.exchange import Checkpoint
from ..encoders.folders import checkpoint_folder
from ..errors import InputError, RecipeError, StoreError
from ..flow import Batch, Document, Example, Row
from ..seeds import key_of
from ..tasks.base import LabelledTask, Task
from ..text.formats import read_rows
from ..text.sources import ROW_KINDS, find_sources
from ..text.tokenizer import Tokenizer
from .choose import HELDOUT_EXAMPLES
from .spec import MICRO_TOKENS, SCRATCH, Recipe

EVALUATION_SEED = 0
"""Held-out masks and pairs do not depend on the run's seed, so that runs can be compared."""
_CHUNK_TOKENS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """The training items, the held-out batches, and the task with what it knows of its data."""

    task: Task
    tokenizer: Tokenizer
    items: Callable[[int], Sequence[Any]]
    """What examples of at most a length are cut from, by that length."""
    cut: Cut[Any]
    """The task's cutting of examples, which on rows knows those that it shortened."""
    chunk_items: int
    heldout: Callable[[int], Iterator[Batch]]
    """In forward passes of so many tokens, labelled the same way each time; nothing when no data is held out."""
    facts: dict[str, Any]
    """What identifies the data, for the record."""
    dev: Sequence[Row] = ()
    """The rows that are held out, where the data is rows."""
    text: Part | None = None
    """What is learned from, where the data is text."""
    _plans: dict[Any, Stages[Any]] = field(default_factory=dict, init=False, repr=False)
    """The last plan that was asked for: what it has cut, a second's work, is not cut again for the same stages."""

    def feed(self, recipe: Recipe) -> Feed:
        """The labelled micro-batches of each step; those of the end where it is not known how many there are."""
        horizon, micro_tokens = _horizon(recipe), recipe.train.micro_tokens or MICRO_TOKENS
        vocabulary = self.tokenizer.vocabulary
        feed = Feed(self.plan(recipe), self.task.label, vocabulary, micro_tokens, self.task.gathered)
        return feed.labelled_by(lambda step: self.task.at(min(1.0, step / horizon) if horizon else 1.0).label)

    def plan(self, recipe: Recipe) -> Stages[Any]:
        """Which examples each step has; the last stage's where it is not known how many steps there are."""
        train, length, batch_size = recipe.train, recipe.data.length, recipe.train.batch_size or 1
        stages = growing(
            (recipe.data.start_length or length, length),
            (train.start_batch_size or batch_size, batch_size),
            round(train.growth * _horizon(recipe)),
        )
        asked = recipe.seed, tuple(stages)
        if asked not in self._plans:
            self._plans.clear()
            plan = Stages(self.items, self.cut, stages, seed=recipe.seed, chunk_items=self.chunk_items)
            self._plans[asked] = plan
        return self._plans[asked]


def _horizon(recipe: Recipe) -> int:
    """The number of steps that shares of a run are taken of; 0 where it is not known."""
    return recipe.train.horizon or recipe.train.steps or 0


def open_source(recipe: Recipe, task: Task) -> Source:
    """The source that fits what the task reads. Raises RecipeError when the recipe names none, or another one too."""
    source = _FITTING[task.reads](recipe, task)
    for name, reads in {"store": Document, "train": Row, "dev": Row}.items():
        if getattr(recipe.data, name) and task.reads is not reads:
            learns = "text, data.store" if task.reads is Document else "labelled rows, data.train"
            raise RecipeError(f"data.{name} is set, and task {task.name} learns from {learns}")
    return source


def _store(recipe: Recipe, task: Task) -> Source:
    if not recipe.data.store:
        raise RecipeError(f"task {task.name} learns from text and needs a token store: data.store, made by `prepare`")
    store = TokenStore(Path(recipe.data.store))
    if task.needs_other_documents and len(store.train) < 2:
        raise InputError(
            f"{recipe.data.store} has a single document for training, and {task.name} takes segments from another; "
            "use --objective mlm, or mark where documents begin with blank lines"
        )
    wanted = HELDOUT_EXAMPLES[Document] if recipe.evaluate.examples is None else recipe.evaluate.examples

    def batches(micro_tokens: int) -> Iterator[Batch]:
        examples = store_examples(recipe.data.store, task, store.tokenizer, recipe.data.length, wanted)
        return labelled_once(task, examples, store.tokenizer, micro_tokens)

    return Source(
        task=task,
        tokenizer=store.tokenizer,
        items=store.train.documents,
        cut=task.examples,
        chunk_items=chunk_items(store),
        heldout=batches,
        facts={"store": store.fingerprint, "tokenizer": store.tokenizer.fingerprint, "tokens": store.train.tokens},
        text=store.train,
    )


def chunk_items(store: TokenStore) -> int:
    """How many of a store's documents are planned together."""
    return max(1, _CHUNK_TOKENS * len(store.train) // max(1, store.train.tokens))


def store_examples(store: str, task: Task, tokenizer: Tokenizer, length: int, wanted: int) -> Iterator[Example]:
    """`wanted` examples from all over a store's held-out part, the same ones each time; all of them for 0.

    A second document that a task needs comes from the training part where a single one is held out; no example where
    nothing is. Raises StoreError when the store was made with another tokenizer.
    """
    opened = TokenStore(Path(store))
    if opened.tokenizer.fingerprint != tokenizer.fingerprint:
        raise StoreError(
            f"{store} was made with another tokenizer than the model's; prepare it with --tokenizer CHECKPOINT"
        )
    items: Sequence[Document] = opened.heldout.documents(length)
    if len(items) == 1 and task.needs_other_documents:
        elsewhere = opened.train.documents(length)[0].elsewhere
        items = [replace(items[0], elsewhere=elsewhere)] if len(opened.train) > 1 else []
    if not len(items):
        return iter(())
    if not wanted:
        return in_order(items, task.examples, EVALUATION_SEED)
    plan = Plan(items, task.examples, batch_size=1, seed=EVALUATION_SEED)
    return (plan.examples(step)[0] for step in range(min(wanted, plan.examples_per_epoch)))


def labelled_once(task: Task, examples: Iterable[Example], tokenizer: Tokenizer, micro_tokens: int) -> Iterator[Batch]:
    """Every example once a pass (see `Task.passes`), with the same labels each time."""
    passes = task.judging().passes()
    pairs = zip(passes, tee(task.gathered(examples), len(passes)), strict=True)
    return chain.from_iterable(
        once(some, one.label, tokenizer.vocabulary, micro_tokens, EVALUATION_SEED) for one, some in pairs
    )


def _rows(recipe: Recipe, task: Task) -> Source:
    if recipe.data.start_length not in (None, recipe.data.length):
        raise RecipeError(f"task {task.name} learns from labelled rows, which are not cut; leave out data.start_length")
    if not recipe.data.train:
        raise RecipeError(f"task {task.name} learns from labelled rows and needs files: data.train, or --train")
    start = recipe.encoder.like if recipe.encoder.start == SCRATCH else recipe.encoder.start
    if not start:
        raise RecipeError("an encoder from scratch needs a checkpoint for its shape and tokenizer: encoder.like")
    tokenizer = Tokenizer.load(checkpoint_folder(start))
    train = Rows(_fields(recipe.data.train), tokenizer, recipe.data.length)
    task = task.settled(train).begun_from(Checkpoint.open(checkpoint_folder(start)).config)
    if recipe.data.dev:
        dev = Rows(_fields(recipe.data.dev), tokenizer, recipe.data.length)
    else:
        train, dev = _divided(train, tokenizer, recipe.data.length)
    check_rows(task, chain(train, dev))
    dev_rows = len(dev)
    dev = dev.spread(recipe.evaluate.examples or dev_rows)

    def batches(micro_tokens: int) -> Iterator[Batch]:
        examples = in_order(dev, task.examples, EVALUATION_SEED)
        return labelled_once(task, examples, tokenizer, micro_tokens)

    # Rows that cannot be judged are refused now, and not after the first epoch.
    for _ in batches(MICRO_TOKENS):
        pass
    facts = {name: _digest(files) for name, files in (("train", recipe.data.train), ("dev", recipe.data.dev)) if files}
    facts["tokenizer"] = tokenizer.fingerprint
    return Source(
        task=task,
        tokenizer=tokenizer,
        items=lambda length: train,
        cut=Shortening(task.examples),
        chunk_items=16_384,
        heldout=batches,
        facts={**facts, "length": recipe.data.length, "rows": len(train), "dev_rows": dev_rows},
        dev=dev,
    )


def check_rows(task: Task, rows: Iterable[Row]) -> None:
    """Raises InputError for the first row that says nothing of what is right to a part of the task that learns it."""
    parts = [part for part in getattr(task, "parts", (task,)) if isinstance(part, LabelledTask)]
    for row in rows:
        for part in parts:
            part.check(row)


def _fields(files: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    return chain.from_iterable(read_rows(file) for file in files)


def _divided(rows: Rows, tokenizer: Tokenizer, length: int) -> tuple[Rows, Rows]:
    """A tenth of the rows for judging, chosen by what they say, so that equal rows stay on one side; of few, one."""
    keys = [key_of("dev", repr(sorted(row.fields.items(), key=str))) for row in rows]
    tenth = {key for key in keys if key % 10 == 0}
    if not tenth and len({*keys}) > 1:
        tenth = {min(keys)}
    judged = [key in tenth for key in keys]
    parts = [[rows[i].fields for i in range(len(rows)) if judged[i] is side] for side in (False, True)]
    return Rows(parts[0], tokenizer, length), Rows(parts[1], tokenizer, length)


def _digest(files: tuple[str, ...]) -> str:
    """A fingerprint of the bytes of all files meant; of a Hub data set, its name."""
    digest = sha256()
    for source in find_sources(files, kinds=ROW_KINDS):
        if source.path is None:
            digest.update(source.name.encode())
            continue
        with open(source.path, "rb") as stream:
            digest.update(file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


_FITTING: dict[type, Callable[[Recipe, Task], Source]] = {Document: _store, Row: _rows}
