"""The command line: one file a verb. Nothing heavy is imported before a verb runs, so that `--help` answers at once."""

from __future__ import annotations

import gc
import os
import sys
import traceback

import typer

from ..errors import BertwrightError
from ..openmp import spin_a_while
from . import options
from .bench import bench
from .evaluate import evaluate
from .export import export
from .fill import fill
from .finetune import finetune
from .inspect import inspect
from .predict import predict
from .prepare import prepare
from .pretrain import pretrain
from .quickstart import quickstart
from .train import train

_OBJECTS = 50_000
"""New objects after which Python looks for cycles. After 700, as is its habit, it goes over all of torch and
transformers again and again while they are brought in: 0.4 s of 4."""

app = typer.Typer(
    name="bertwright",
    help="Raw text in, a trained and documented BERT out; and from it a classifier.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (quickstart, prepare, pretrain, finetune, train, evaluate, predict, fill, inspect, export, bench):
    app.command()(verb)


@app.callback()
def root(context: typer.Context, version: options.Version = False) -> None:
    """Raw text in, a trained and documented BERT out; and from it a classifier."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The console script. Ends with 0, with 2 and one line on what a person can mend, or as a signal asks."""
    gc.set_threshold(_OBJECTS)
    spin_a_while()
    try:
        status = app(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(status)
    except BertwrightError as error:
        _end(str(error), 2, error)
    except typer.TyperException as error:
        _end(error.format_message(), 2, error)
    except (typer.Abort, KeyboardInterrupt):
        _end("interrupted", 130, None)
    except BrokenPipeError:
        # Nobody reads on. What is left in the buffer would be complained of when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _end(f"{error.filename or 'the system'}: {error.strerror or error}", 2, error)


def _end(message: str, status: int, error: Exception | None) -> None:
    if error is not None and options.debugging():
        traceback.print_exception(error)
    print(f"bertwright: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
