"""`bertwright fill CHECKPOINT "text with [MASK]"`: the words a masked-LM model puts there."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import options


def fill(
    checkpoint: options.Checkpoint,
    text: Annotated[str, typer.Argument(help="A text with one [MASK] or several.")],
    top: Annotated[int, typer.Option(help="How many words for each.")] = 5,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fill the masks of a text."""
    from ..amounts import were
    from ..run.answering import filler

    answerer = filler(checkpoint)
    filled = answerer.fill(text, top)
    if misspelt := answerer.masks_misspelt(text):
        found, mask = " and ".join(map(repr, misspelt)), answerer.mask
        typer.echo(f"{found} {were(len(misspelt))} read as text; the mask of this model is {mask}.", err=True)
    if as_json:
        masks = [[{"token": word, "probability": share} for word, share in words] for words in filled]
        typer.echo(json.dumps({"text": text, "masks": masks}, ensure_ascii=False))
        return
    for number, words in enumerate(filled, 1):
        typer.echo(f"[MASK] {number}: " + "  ".join(f"{word} {share:.1%}" for word, share in words))
