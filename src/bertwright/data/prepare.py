"""Text to a token store, in passes that hold a document or a batch in memory and never the corpus.

    checking     the inputs are hashed, to tell whether the store is there already
    reading      every document is cut into sentences, which go to a spool; its signature is kept (8 bytes)
    vocabulary   a tokenizer is trained on the training part, unless one is given
    encoding     the spool becomes the two parts

Nothing is drawn at random and no date is written: the same text and settings give the same store, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError, RecipeError, StoreError
from ..text.formats import Corpus
from ..text.layouts import LAYOUTS
from ..text.sentences import checked_language
from ..text.sources import Source, Tally, find_sources, reporting
from ..text.tokenizer import Tokenizer
from ..text.wordpiece import train_tokenizer
from .encode import Encoder
from .holdout import held_out
from .spool import Spool, VocabularyText, spooled
from .store import PARTS, TokenStore, partial_path
from .writer import StoreWriter

CHECKING, READING, VOCABULARY, ENCODING = "checking", "reading", "vocabulary", "encoding"
ALREADY_THERE = "already there"
"""In place of the other stages, when the store is finished and of the same inputs and settings."""

Progress = Callable[[str, int, int], None]
"""Called with a stage, the bytes done in it and the bytes of all."""

_DECIDING = ("tokenizers", "sentencex", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """How a store is made. Raises RecipeError for settings that are out of range or do not go together."""

    vocab_size: int = 16_384
    """Rounded up to a multiple of 64."""
    tokenizer: str | None = None
    """The folder of a tokenizer to take; None trains one."""
    lower_case: bool = False
    strip_accents: bool = False
    """Turns é into e, and й into и."""
    language: str | None = None
    """A code such as "en"; None looks at the script."""
    text_field: str = "text"
    """The column that holds the text, in files with columns."""
    layout: str = "auto"
    """How .txt files are laid out: auto, lines, prose or wrapped (see `text.layouts`)."""
    heldout: float = 0.01
    """The share of documents held out for evaluation."""
    strict: bool = False
    """Refuse bytes that are not UTF-8 rather than replace them."""
    seed: int = 1
    """Chooses which documents are held out."""

    def __post_init__(self) -> None:
        if not 128 <= self.vocab_size <= 2**20:
            raise RecipeError(f"a vocabulary of {self.vocab_size} entries; accepted are 128 to {2**20}")
        if not 0 <= self.heldout <= 0.5:
            raise RecipeError(f"a held-out share of {self.heldout}; accepted are 0 to 0.5")
        if self.layout not in LAYOUTS:
            raise RecipeError(f"unknown layout {self.layout!r}; known are {', '.join(LAYOUTS)}")
        if self.tokenizer is not None and (self.lower_case or self.strip_accents):
            raise RecipeError("a given tokenizer has its own lower_case and strip_accents; leave them out")
        if self.language is not None:
            checked_language(self.language)


def prepare(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    settings: PrepareSettings | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> TokenStore:
    """Makes a token store of the inputs (see `text.sources`) at `out`, whole or not at all.

    Does nothing where the store is there, finished, and of the same inputs and settings. Raises InputError for an
    input that cannot be read, StoreError when something else is at `out` or the disk is full. `describe` tells what
    came of it.
    """
    settings = settings or PrepareSettings()
    out = Path(out)
    finished = (out / "manifest.json").is_file()
    if not finished and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise StoreError(f"{out}: not a token store, and not empty; it was left as it is, choose another --out")
    given = Tokenizer.load(settings.tokenizer) if settings.tokenizer is not None else None
    with StoreWriter(out) as writer:
        sources = find_sources(inputs, spool=writer.folder, leave_out=(out, partial_path(out)))
        made = _made_from(sources, settings, given, partial(progress, CHECKING))
        if finished:
            return _finished_before(out, made, progress)
        _write(writer, sources, settings, given, made, progress)
    return TokenStore(out)


def _write(
    writer: StoreWriter,
    sources: list[Source],
    settings: PrepareSettings,
    given: Tokenizer | None,
    made: dict[str, Any],
    progress: Progress,
) -> None:
    corpus = Corpus(sources=sources, field=settings.text_field, layout=settings.layout, strict=settings.strict)
    with writer.scratch("spool") as file:
        spool = spooled(corpus, file, settings.language, partial(progress, READING))
        heldout = held_out(spool.signatures, settings.heldout, settings.seed)
        tokenizer = given or train_tokenizer(
            VocabularyText(spool, heldout, partial(progress, VOCABULARY)),
            vocab_size=settings.vocab_size,
            lower_case=settings.lower_case,
            strip_accents=settings.strip_accents,
        )
        writer.tokenizer(tokenizer)
        parts = {name: writer.part(name, tokenizer.vocabulary.size) for name in PARTS}
        encoder = Encoder(tokenizer, parts, spool.language)
        encoder.encode(spool, heldout, partial(progress, ENCODING))
    if not encoder.counts["train"].documents:
        raise InputError("the tokenizer finds nothing to encode in the inputs")
    writer.finish(parts, tokenizer, _facts(spool, encoder, made))


def _facts(spool: Spool, encoder: Encoder, made: dict[str, Any]) -> dict[str, Any]:
    tally: Tally = spool.tally
    for source in made["inputs"]:
        source["layout"] = tally.layouts.get(source["name"])
    return {
        "corpus": spool.fingerprint,
        "language": spool.language,
        "parts": {name: asdict(counts) for name, counts in encoder.counts.items()},
        "reading": {
            "undecodable": tally.undecodable,
            "empty": tally.empty,
            "empty_files": tally.empty_files,
            "cut": tally.cut,
            "layouts": tally.layout_counts,
        },
        "samples": encoder.samples(),
        "made": made,
    }


def _made_from(
    sources: list[Source], settings: PrepareSettings, given: Tokenizer | None, report: Callable[[int, int], None]
) -> dict[str, Any]:
    """What decides the store: the content of the inputs and the settings; beside them, versions for the record."""
    total = sum(source.size for source in sources)
    done = 0
    inputs = []
    for source in sources:
        digest = None
        if source.path:
            with reporting(source.name), open(source.path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        inputs.append({"name": source.name, "kind": source.kind, "bytes": source.size, "sha256": digest})
        done += source.size
        report(done, total)
    contents = [(entry["kind"], entry["sha256"] or entry["name"]) for entry in inputs]
    return {
        "content": hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
        "settings": asdict(settings) | {"tokenizer": given.fingerprint if given else None},
        "inputs": inputs,
        "versions": {name: version(name) for name in _DECIDING},
    }


def _finished_before(out: Path, asked: dict[str, Any], progress: Progress) -> TokenStore:
    store = TokenStore(out)
    there = store.manifest["made"]
    differing = ["other inputs"] if there["content"] != asked["content"] else []
    for name, value in asked["settings"].items():
        if there["settings"].get(name) != value:
            differing.append(f"{name} {there['settings'].get(name)!r} there, {value!r} asked")
    if differing:
        what = "; ".join(differing)
        raise StoreError(f"{out}: another finished token store ({what}); it was left as it is, choose another --out")
    size = sum(source["bytes"] for source in asked["inputs"])
    progress(ALREADY_THERE, size, size)
    return store
