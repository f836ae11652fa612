"""`bertwright pretrain STORE --out RUN`: an encoder from random weights, or one that goes on learning from text."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import RecipeError
from . import options
from .recipes import carry_out, nested


def pretrain(
    store: Annotated[str, typer.Argument(help="A token store, made by `bertwright prepare`.")],
    out: options.Out,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="The settings to start from: modern (the default), few-words, bert-2018, roberta, cramming, electra "
            "(the default for rtd), FILE.toml."
        ),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="What is learned; several are joined by +, as in mlm+nsp.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="tiny, mini (the default), small, medium, base or large.")] = None,
    arch: Annotated[str | None, typer.Option(help="The architecture: bert, modern or electra.")] = None,
    init: options.Init = None,
    start: Annotated[str | None, typer.Option(help="A checkpoint to go on from, instead of random weights.")] = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    budget: options.Budget = None,
    batch_size: options.BatchSize = None,
    lr: options.Rate = None,
    length: options.Length = None,
    freeze: options.Freeze = None,
    seed: options.Seed = None,
    sets: options.Sets = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Pretrain an encoder on a token store, by a recipe; options go before what the recipe says."""
    if start not in (None, "scratch") and (size or arch):
        raise RecipeError(f"--size and --arch are of an encoder from random weights, and {start} has its own")
    from ..run.shipped import laid_over, recipe_for, tables_of

    given = {
        "out": str(out),
        "task": objective,
        "seed": seed,
        "data.store": store,
        "data.length": length,
        "encoder.start": start,
        "encoder.arch": arch,
        "encoder.size": size,
        "encoder.init": init,
        "encoder.freeze": freeze,
        "train.steps": steps,
        "train.epochs": epochs,
        "train.budget": budget,
        "train.batch_size": batch_size,
        "train.lr": lr,
    }
    carry_out(laid_over(tables_of(recipe or recipe_for(objective)), nested(given)), sets, as_json)
