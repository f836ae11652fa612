"""A token store in a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..amounts import amount, were
from ..text.sentences import WITHOUT_SPACES
from .store import TokenStore

_ENOUGH = 10_000
"""Tokens held out that tell losses apart: 1,500 of them are predicted, an accuracy of 30 % is known to 2.4 %."""


def describe(store: TokenStore) -> list[str]:
    """What a store holds and what was met when it was made, a line each."""
    manifest = store.manifest
    train, heldout = manifest["parts"]["train"], manifest["parts"]["heldout"]
    whole = {name: train[name] + heldout[name] for name in train}
    word = "character" if manifest["language"] in WITHOUT_SPACES else "word"
    size = sum(file["bytes"] for name, file in manifest["files"].items() if name.endswith(".bin"))
    return [
        f"{store.path}: token store {store.fingerprint[:12]}, language {manifest['language']}",
        f"{amount(whole['documents'], 'document')}, {amount(whole['sentences'], 'sentence')}, "
        f"{amount(whole['words'], word)}, {amount(whole['tokens'], 'token')}",
        f"{whole['tokens'] / whole['words']:.3f} tokens per {word}, {whole['unknown'] / whole['tokens']:.3%} unknown, "
        f"{size / whole['tokens']:.3f} bytes per token",
        f"vocabulary of {store.vocab_size:,} entries ({_origin(manifest)}), ids as {manifest['dtype']}",
        _heldout_line(heldout, whole, manifest["made"]["settings"]["heldout"]),
        *_notes(manifest["reading"], whole),
        *(f"  {word} -> {' '.join(pieces)}" for word, pieces in manifest["samples"].items()),
    ]


def _origin(manifest: Mapping[str, Any]) -> str:
    settings = manifest["made"]["settings"]
    if settings["tokenizer"]:
        return f"a given tokenizer, {settings['tokenizer'][:12]}"
    case = "lower-cased" if settings["lower_case"] else "cased"
    return f"trained, {case}, accents {'stripped' if settings['strip_accents'] else 'kept'}"


def _heldout_line(heldout: Mapping[str, int], whole: Mapping[str, int], asked: float) -> str:
    if heldout["documents"]:
        share = heldout["tokens"] / whole["tokens"]
        little = "" if heldout["tokens"] >= _ENOUGH else ", which is little to judge by (--heldout holds out more)"
        documents, tokens = amount(heldout["documents"], "document"), amount(heldout["tokens"], "token")
        return f"held out: {documents}, {tokens} ({share:.2%}){little}"
    if whole["documents"] == 1:
        return "held out: nothing, for there is a single document (are documents separated by blank lines?)"
    return f"held out: nothing, {'for the documents are too much alike' if asked else 'as asked'}"


def _notes(reading: Mapping[str, Any], whole: Mapping[str, int]) -> list[str]:
    layouts = ", ".join(f"{layout} ({amount(count, 'file')})" for layout, count in reading["layouts"].items())
    undecodable, files, cuts = reading["undecodable"], reading["empty_files"], reading["cut"]
    empty = reading["empty"] + whole["without_tokens"]
    replaced = f"{amount(undecodable, 'byte')} {were(undecodable)} not UTF-8 and {were(undecodable)} replaced"
    notes = [
        (layouts, f"layout of .txt: {layouts}"),
        (undecodable, replaced),
        (empty, f"{amount(empty, 'empty document')} {were(empty)} skipped"),
        (files, f"{amount(files, 'file')} without text {were(files)} skipped"),
        (cuts, f"{amount(cuts, 'cut')} {were(cuts)} made in documents of over 4,000,000 characters"),
    ]
    return [line for happened, line in notes if happened]
