"""docs/your-own-objective.md is true: its file and its command, run as they stand, and what becomes of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import runs

from bertwright.run.provenance import Provenance
from bertwright.run.spec import load

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your-own-objective.md").read_text(encoding="utf-8")
SMALL = "--size tiny --length 32 --steps 4 --batch-size 8 --set save.every=2 --set evaluate.examples=16"


def block(marker: str) -> str:
    (found,) = re.findall(rf"^<!-- {re.escape(marker)} -->\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def home(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page speaks of it, with `mine.py` and `store` in it."""
    (tmp_path / "mine.py").write_text(block("file: mine.py"), encoding="utf-8")
    (tmp_path / "store").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(more: str = "") -> list[str]:
    program, *rest = shlex.split(f"{block('tested')} {SMALL} {more}")
    assert program == "bertwright"
    return rest


def test_it_is_short() -> None:
    assert len(block("file: mine.py").splitlines()) < 40


def test_the_page_runs_as_written(home: Path, call) -> None:
    called = call(*words())
    assert called.status == 0, called.err
    assert {line.split()[0] for line in called.out.splitlines()} >= {"mlm.loss", "mine.loss", "mine.accuracy"}
    recipe = load(home / "runs" / "mine" / "recipe.toml")
    assert recipe["task"] == "mlm+mine.py:Mine"
    assert recipe["tasks"]["mine"] == {"apart": 0.4}
    assert recipe["tasks"]["weights"] == {"mlm": 1.0, "mine": 0.5}
    assert (home / "runs" / "mine" / "mine.py").read_text("utf-8") == block("file: mine.py")
    record = Provenance.read(home / "runs" / "mine" / "model")
    assert record is not None
    assert record.data["code"].keys() == {"mine.py"}
    again = call(*words())
    assert (again.status, again.err) == (0, "runs/mine is finished; nothing to do.\n")


def test_a_run_goes_on_with_the_same_code_only(home: Path, call) -> None:
    assert call(*words("--out runs/long --set train.horizon=4")).status == 0
    assert call(*words("--out runs/short --set train.horizon=4 --steps 2")).status == 0
    assert call(*words("--out runs/short --set train.horizon=4 --steps 4")).status == 0
    assert runs.same_weights(home / "runs" / "long", home / "runs" / "short")
    (home / "mine.py").write_text(block("file: mine.py").replace("int(not apart)", "int(apart)"), encoding="utf-8")
    refused = call(*words("--out runs/short --set train.horizon=4 --steps 6"))
    assert refused.status == 2
    assert "own code of this run has changed since it began; use another --out" in refused.err
    assert (home / "runs" / "short" / "mine.py").read_text("utf-8") == block("file: mine.py")


def test_others_read_what_is_known_of_it(home: Path, call) -> None:
    """The encoder goes on to any task, masked LM is measured, and the code is not run on the checkpoint's word."""
    assert call(*words()).status == 0
    (home / "mine.py").unlink()
    assert "mine" in call("inspect", "runs/mine").out
    judged = call("evaluate", "runs/mine", "--store", "store", "--examples", 8)
    assert judged.status == 0, judged.err
    assert {line.split(".")[0] for line in judged.out.splitlines()} == {"mlm"}
    train = runs.write_rows(home / "train.jsonl", runs.rows(16))
    tuned = call("finetune", "runs/mine", "--task", "classify", "--train", train, "--steps", 1, "--out", "runs/tuned")
    assert tuned.status == 0, tuned.err
    on = ("--start", "runs/mine", "--steps", 1, "--length", 32, "--out", "runs/on")
    went = call("pretrain", "store", "--objective", "mlm+nsp", *on)
    assert went.status == 0, went.err
    record = Provenance.read(home / "runs" / "on" / "model")
    assert record is not None
    loaded = {t.name: t.loaded for t in record.tensors if t.name.startswith("cls.seq")}
    assert loaded
    assert not any(loaded.values())


def test_a_recipe_takes_it_too(home: Path, call) -> None:
    (home / "recipe.toml").write_text(
        'out = "runs/recipe"\ntask = "mine.py:Mine"\n[tasks.mine]\napart = 0.3\n[data]\nstore = "store"\nlength = 32\n'
        '[encoder]\nsize = "tiny"\n[train]\nsteps = 2\nbatch_size = 8\n',
        encoding="utf-8",
    )
    called = call("train", "recipe.toml")
    assert called.status == 0, called.err
    assert "mine.accuracy" in called.out
    missing = call("pretrain", "store", "--objective", "mlm+gone.py:Mine", "--out", "runs/gone")
    assert (missing.status, "gone.py: no such Python file" in missing.err) == (2, True)
