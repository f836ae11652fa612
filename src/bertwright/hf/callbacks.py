"""Who hears of a run: transformers' handler with its own callbacks, those of `report_to`, and the person's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import (
    CallbackHandler,
    DefaultFlowCallback,
    PrinterCallback,
    ProgressCallback,
)

from .face import Face

_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


def handler_for(trainer: Face, own: list[Any] | None) -> CallbackHandler:
    """The handler of a Trainer's callbacks, in transformers' order."""
    args = trainer.args
    # A callback that is given as a class is made by the handler, TensorBoard's with the folder that it finds then.
    with _logging_to(args.logging_dir):
        handler = CallbackHandler(
            [DefaultFlowCallback, *get_reporting_integration_callbacks(args.report_to), *(own or [])],
            trainer.model,
            trainer.processing_class,
            trainer.optimizer,
            trainer.lr_scheduler,
        )
    handler.add_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
    return handler


@contextmanager
def _logging_to(folder: str | None) -> Iterator[None]:
    if folder is None or _TENSORBOARD in os.environ:
        yield
        return
    os.environ[_TENSORBOARD] = folder
    try:
        yield
    finally:
        del os.environ[_TENSORBOARD]
