"""A run's folder: the recipe as resolved, metrics as JSON lines, checkpoints, and at the end the model.

RUN/recipe.toml         every setting, defaults filled in
RUN/asked.toml          what was asked for, to know the same command again
RUN/metrics.jsonl       a line for every logged step and every evaluation
RUN/checkpoints/        a Hugging Face checkpoint each, with the optimizer's state beside it
RUN/model/              the result: a Hugging Face checkpoint with its card
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ..errors import RunError
from ..files import whole_folder, write_text
from ..train.checkpoint import folder_of, saved
from ..train.loop import Loop
from ..train.optim import load_state_tensors, state_tensors
from .spec import Recipe, differences, load

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


class RunFolder:
    """The folder of one run. Raises RunError when it holds a run that was asked for differently, or something else."""

    def __init__(self, asked: Recipe) -> None:
        self.home = Path(asked.out)
        self._asked = asked
        path = self.home / "asked.toml"
        if path.is_file():
            if differ := differences(asked, Recipe.of(load(path))):
                raise RunError(
                    f"{self.home} holds another run ({'; '.join(differ)}); choose another --out, or remove it"
                )
        elif self.home.exists() and (not self.home.is_dir() or any(self.home.iterdir())):
            raise RunError(f"{self.home} exists and is not a run; choose another --out")

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
        self.home.mkdir(parents=True, exist_ok=True)
        write_text(self.home / "asked.toml", self._asked.write())
        write_text(self.home / "recipe.toml", resolved.write())

    def log(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the metrics."""
        with open(self.home / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines logged so far; a line that was cut off by a kill is left out."""
        path = self.home / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def save(self, loop: Loop, state: Mapping[str, Any], write_model: Callable[[Path], None]) -> None:
        """Writes the checkpoint of the loop's step."""
        with whole_folder(folder_of(self.home, loop.step)) as folder:
            write_model(folder)
            save_file(state_tensors(loop.optimizer, loop.model), folder / OPTIMIZER)
            write_text(folder / STATE, json.dumps({"step": loop.step, **state}) + "\n")

    def restore(self, loop: Loop, checkpoint: Path) -> dict[str, Any]:
        """Puts the loop back to where a checkpoint left it (the model's weights apart)."""
        load_state_tensors(loop.optimizer, loop.model, load_file(checkpoint / OPTIMIZER))
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        loop.step = state["step"]
        self.forget_after(loop.step)
        return state

    def forget_after(self, step: int) -> None:
        """Takes back what was logged of later steps, which are about to be done again."""
        kept = [json.dumps(line, ensure_ascii=False) + "\n" for line in self.metrics() if line["step"] <= step]
        write_text(self.home / "metrics.jsonl", "".join(kept))
