"""A run's folder: the recipe as resolved, metrics as JSON lines, checkpoints, and at the end the model.

RUN/recipe.toml         every setting, defaults filled in
RUN/asked.toml          what was asked for, to know the same command again
RUN/MINE.py             the file of a task of one's own, as it was when the run began
RUN/metrics.jsonl       a line for every logged step and every evaluation
RUN/checkpoints/        a Hugging Face checkpoint each, with the optimizer's state, and the head's where it has one
RUN/model/              the result: a Hugging Face checkpoint with its card
RUN/confusion.csv, RUN/worst.jsonl      where it is wrong, for tasks on rows (see `mistakes`)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..amounts import amount
from ..encoders.exchange import one_line
from ..errors import BertwrightError, RunError
from ..files import whole_folder, write_text
from ..sums import Sums
from ..train.checkpoint import folder_of, saved
from ..train.loop import Loop
from ..train.optim import load_state_tensors, state_tensors
from .choose import check, going_on_to, own_files
from .spec import Recipe, differences, load

OPTIMIZER = "optimizer.safetensors"
RAW = "raw.safetensors"
BUFFERS = "buffers.safetensors"
WINDOW = "window.safetensors"
STATE = "state.json"
_TOLD = 3
"""How many of the settings are named in which another run differs."""
_HOW_LONG = {"train.steps", "train.epochs", "train.budget"}


class RunFolder:
    """The folder of one run, which it keeps from other processes between `with` and its end.

    The same run is what was asked for again, or its own recipe.toml. That it was asked for with another number of steps
    is for `take_steps` to judge. Raises RunError when it holds a run that was asked for differently, or something else,
    and where another process has it.
    """

    def __init__(self, asked: Recipe) -> None:
        self.home = Path(asked.out)
        self._asked = asked
        self._kept = ExitStack()
        path = self.home / "asked.toml"
        if path.is_file():
            differ = differences(asked, Recipe.of(load(path)))
            if asked != self.resolved() and differ.keys() - (_HOW_LONG if asked.train.steps else set()):
                raise RunError(f"{self.home} holds another run ({_brief(differ)}); choose another --out, or remove it")
        elif self.home.exists() and not _is_blank(self.home):
            raise RunError(f"{self.home} exists and is not a run; choose another --out")

    def __enter__(self) -> Self:
        if self.home.is_dir():
            self._keep()
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def _keep(self) -> None:
        """Locks the folder itself, which leaves no file behind and ends with the process, however that ends."""
        self._kept.close()
        folder = os.open(self.home, os.O_RDONLY)
        self._kept.callback(os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{self.home}: another process is training here; choose another --out, or wait") from None
        except OSError:
            return  # A file system that cannot lock keeps nobody out.

    @property
    def finished(self) -> bool:
        return (self.home / "model" / "config.json").is_file()

    @property
    def latest(self) -> Path | None:
        """The last checkpoint, None before the first."""
        found = saved(self.home)
        return found[-1] if found else None

    def resolved(self) -> Recipe | None:
        """The recipe as it was resolved when the run began; None where it has not begun."""
        path = self.home / "recipe.toml"
        return Recipe.of(load(path)) if path.is_file() else None

    def begin(self, resolved: Recipe) -> None:
        """Writes what was asked and what it came to."""
        with _writing(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            self._keep()
            write_text(self.home / "asked.toml", self._asked.write())
            write_text(self.home / "recipe.toml", resolved.write())
            for path in own_files(resolved.task):
                if not (self.home / path.name).exists():
                    write_text(self.home / path.name, path.read_text(encoding="utf-8"))

    def take_steps(self) -> str:
        """Where the run was begun with another number of steps, has it go on to the one asked for, and says so.

        Raises RunError when the learning rate of what is done would have been another one.
        """
        known, steps = self.resolved(), self._asked.train.steps
        if known is None or known.train.steps == steps or steps is None:
            return ""
        check(self._asked)
        done = self.state(self.latest)["step"] if self.latest else 0
        changed = going_on_to(known, steps, done)
        with _writing(self.home):
            if self.finished:
                aside = self.home / ".model.old"
                (self.home / "model").rename(aside)
                shutil.rmtree(aside)
            self.begin(changed)
        return f"{self.home} goes on to {amount(steps, 'step')} instead of {known.train.steps}."

    def log(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the metrics."""
        path = self.home / "metrics.jsonl"
        with _writing(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines logged so far; a line that was cut off by a kill is left out."""
        path = self.home / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @contextmanager
    def whole(self, path: Path) -> Iterator[Path]:
        """A folder of the run that is there whole or not at all. Raises RunError when it cannot be written."""
        with _writing(path), whole_folder(path) as folder:
            yield folder

    def save(self, loop: Loop, state: Mapping[str, Any], window: Sums, write_model: Callable[[Path], None]) -> None:
        """Writes the checkpoint of the loop's step; `window` is what was learned since the last logged line.

        Its model is the one that is judged; where that is an average, the weights themselves are beside it.
        """
        with self.whole(folder_of(self.home, loop.step)) as folder:
            with loop.judged():
                write_model(folder)
            if loop.average is not None:
                save_file(loop.average.raw(), folder / RAW)
            if buffers := dict(loop.model.named_buffers()):
                save_file({name: value.cpu() for name, value in buffers.items()}, folder / BUFFERS)
            save_file(state_tensors(loop.optimizer), folder / OPTIMIZER)
            save_file({name: value.cpu() for name, value in window.items()}, folder / WINDOW)
            write_text(folder / STATE, json.dumps({"step": loop.step, **state}) + "\n")

    def state(self, checkpoint: Path) -> dict[str, Any]:
        """What was given as a checkpoint's state, and its step. Raises RunError when it is damaged."""
        with _reading(checkpoint):
            return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))

    def restore(self, loop: Loop, checkpoint: Path) -> Sums:
        """Puts the loop back to where a checkpoint left it, after the model in it was loaded; returns the window.

        Raises RunError when the checkpoint is damaged.
        """
        with _reading(checkpoint):
            if loop.average is not None:
                loop.average.restore(load_file(checkpoint / RAW))
            if buffers := dict(loop.model.named_buffers()):
                stored = load_file(checkpoint / BUFFERS)
                for name, value in buffers.items():
                    value.copy_(stored[name])
            load_state_tensors(loop.optimizer, load_file(checkpoint / OPTIMIZER))
            window = load_file(checkpoint / WINDOW)
        loop.step = self.state(checkpoint)["step"]
        self.forget_after(loop.step)
        return window

    def forget_after(self, step: int) -> None:
        """Takes back what was logged of later steps, which are about to be done again."""
        kept = [json.dumps(line, ensure_ascii=False) + "\n" for line in self.metrics() if line["step"] <= step]
        with _writing(self.home):
            write_text(self.home / "metrics.jsonl", "".join(kept))


def _brief(differ: Mapping[str, str]) -> str:
    """How another run differs: by its task, from which the rest follows, or by the first of its settings."""
    if "task" in differ:
        return differ["task"].removeprefix("task: ")
    shown, more = [*differ.values()][:_TOLD], len(differ) - _TOLD
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _is_blank(home: Path) -> bool:
    """Whether nothing is in a folder, but for what a process leaves that is killed while it writes its first file."""
    return home.is_dir() and all(left.name.endswith(".partial") for left in home.iterdir())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be written: {one_line(error)}; what was saved before is intact") from error


@contextmanager
def _reading(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except BertwrightError:
        raise  # It says by itself what is wrong.
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(
            f"{checkpoint} is damaged ({one_line(error)}); remove it, and the run goes on from the one before"
        ) from error
