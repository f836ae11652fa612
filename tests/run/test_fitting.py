"""What does not fit into memory is said before the first step; fewer tokens a forward pass are taken where they do."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import runs

from bertwright.errors import RecipeError
from bertwright.run.choose import task_of, with_architecture
from bertwright.run.fitting import fitted
from bertwright.run.sources import Source, open_source
from bertwright.run.spec import Recipe

Refused = Callable[..., str]


@contextmanager
def left(megabytes: int) -> Iterator[None]:
    """While it lasts the process may take no more than that."""
    status = Path("/proc/self/status").read_text().splitlines()
    used = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmData")))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def opened(store: Path, **changes: object) -> tuple[Recipe, Source]:
    large = {"train__batch_size": 512, "data__length": 128}
    recipe = Recipe.of(runs.pretraining(store, Path("run"), **large | changes))
    task = task_of(recipe.task, recipe.tasks)
    return with_architecture(recipe, task), open_source(recipe, task)


def chosen(store: Path, megabytes: int, **changes: object) -> int | None:
    recipe, source = opened(store, **changes)
    with left(megabytes):
        return fitted(recipe, source).train.micro_tokens


def test_tokens_are_halved_until_they_fit(store: Path) -> None:
    found = [chosen(store, megabytes) for megabytes in (400, 150, 110)]
    assert found[0] == 8192
    assert 128 <= found[2] < found[1] < 8192  # type: ignore[operator]
    assert all(8192 % tokens == 0 for tokens in found if tokens)


def test_what_is_asked_for_is_taken_or_refused(store: Path) -> None:
    assert chosen(store, 400, train__micro_tokens=300) == 300
    with pytest.raises(RecipeError) as caught:
        chosen(store, 150, train__micro_tokens=8192)
    said = str(caught.value)
    assert said.startswith("training this model takes about 0.")
    assert " GB of memory with train.micro_tokens = 8192, and 0.2 GB are free; " in said
    assert said.endswith(f"; {chosen(store, 150)} would fit")


def test_a_size_that_does_not_fit_is_refused_with_one_that_does(store: Path) -> None:
    with pytest.raises(RecipeError, match=r"even one sequence at a time, .*; the largest size that would fit is mini$"):
        chosen(store, 300, encoder__size="large")
    with pytest.raises(RecipeError, match=r"; no size would fit$"):
        chosen(store, 10, encoder__size="base")


def test_words_that_cannot_be_counted_are_said_before_they_are(pretrained: Path, store: Path, tmp_path: Path) -> None:
    """A narrow model of many words trains in a fraction of what counting them takes."""
    shutil.copytree(pretrained / "model", tmp_path / "many")
    config = json.loads((tmp_path / "many" / "config.json").read_text(encoding="utf-8"))
    many = {"vocab_size": 300_000, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 1}
    (tmp_path / "many" / "config.json").write_text(json.dumps(config | many), encoding="utf-8")
    like = {"encoder__like": str(tmp_path / "many"), "train__batch_size": 1}
    assert chosen(store, 700, **like) is not None
    assert chosen(store, 3000, **like, encoder__words="counted") is not None
    with pytest.raises(
        RecipeError, match=r"^counting .* 300,000 .* takes about 1\.3 GB of memory, and 0\.7 GB are free; "
    ):
        chosen(store, 700, **like, encoder__words="counted")


def test_a_shape_beyond_all_memory_is_refused_before_it_is_made(
    pretrained: Path, store: Path, tmp_path: Path, refused: Refused
) -> None:
    """A thousand times this machine's memory would be asked for."""
    shutil.copytree(pretrained / "model", tmp_path / "wide")
    config = json.loads((tmp_path / "wide" / "config.json").read_text(encoding="utf-8"))
    wide = {"hidden_size": 2**19, "intermediate_size": 2**21, "num_attention_heads": 2**13}
    (tmp_path / "wide" / "config.json").write_text(json.dumps(config | wide), encoding="utf-8")
    said = refused(runs.pretraining(store, tmp_path / "run", encoder__like=str(tmp_path / "wide")), RecipeError)
    assert said.startswith("training this model takes about ")
    assert said.endswith("are free; accepted are a smaller model, or shorter sequences (--length)")
