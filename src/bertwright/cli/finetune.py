"""`bertwright finetune CHECKPOINT --task T --train F --dev F --out RUN`: a task learned on top of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from . import options
from .recipes import carry_out, carry_out_seeds, nested


def finetune(
    checkpoint: options.Checkpoint,
    train: Annotated[
        list[str],
        typer.Option(help="Labelled rows: .jsonl .csv .tsv .parquet, CoNLL columns, SQuAD's .json; repeatable."),
    ],
    out: options.Out,
    dev: Annotated[list[str] | None, typer.Option(help="Rows to judge by; a tenth of --train without it.")] = None,
    task: Annotated[str, typer.Option(help="What is learned.")] = "classify",
    start: Annotated[
        str | None, typer.Option(help="`scratch`: the same model from random weights, to compare.")
    ] = None,
    text_field: options.TextField = None,
    label_field: options.LabelField = None,
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    budget: options.Budget = None,
    batch_size: options.BatchSize = None,
    lr: options.Rate = None,
    length: options.Length = None,
    freeze: options.Freeze = None,
    unfreeze: Annotated[
        float | None, typer.Option(help="The share of the run over which layers begin to train, the last first.")
    ] = None,
    layer_decay: Annotated[
        float | None, typer.Option(help="Each layer down has its rate multiplied by this, as in 0.9.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Ends after so many judgements in a row that are no better.")
    ] = None,
    seed: options.Seed = None,
    seeds: Annotated[
        int | None, typer.Option(help="So many runs, OUT/seed-1 and on, and what they come to on average.")
    ] = None,
    sets: options.Sets = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fine-tune an encoder on labelled rows."""
    if start not in (None, "scratch"):
        raise RecipeError(f"--start takes scratch, not {start!r}; the checkpoint to start from is {checkpoint}")
    first = Path(task.partition("+")[0].partition(":")[0]).stem
    given = {
        "out": str(out),
        "task": task,
        "seed": seed,
        f"tasks.{first}.text_field": text_field,
        f"tasks.{first}.label_field": label_field,
        "data.train": train,
        "data.dev": dev,
        "data.length": length,
        "encoder.start": start or checkpoint,
        "encoder.like": checkpoint if start else None,
        "encoder.freeze": freeze,
        "train.steps": steps,
        "train.epochs": epochs,
        "train.budget": budget,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.unfreeze": unfreeze,
        "train.layer_decay": layer_decay,
        "train.patience": patience,
    }
    if seeds is None:
        carry_out(nested(given), sets, as_json)
    else:
        carry_out_seeds(nested(given), sets, seeds, as_json)
