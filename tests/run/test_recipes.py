"""Recipes: what is refused and what for, how settings are laid over, and the shipped ones."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

from bertwright.cli.recipes import nested
from bertwright.errors import BertwrightError, RecipeError
from bertwright.run.choose import check, settings_of, task_of
from bertwright.run.provenance import Provenance
from bertwright.run.run import run
from bertwright.run.shipped import DEFAULT, laid_over, recipe_for, tables_of
from bertwright.run.spec import Recipe, differences, load, overridden, seconds
from bertwright.tasks.joint import Joint

Refused = Callable[..., str]
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))


def line(call: Callable[[], object]) -> str:
    with pytest.raises(RecipeError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of(**changes: Any) -> Recipe:
    return Recipe.of(nested({"out": "run", "task": "mlm"} | {key.replace("__", "."): v for key, v in changes.items()}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__lrr": 1e-3}, "unknown setting train.lrr; did you mean train.lr?"),
        ({"train__step": 5}, "unknown setting train.step; did you mean train.steps?"),
        ({"sede": 1}, "unknown setting sede; did you mean seed?"),
        ({"lr": 1e-3}, "unknown setting lr; did you mean train.lr?"),
        ({"learning_rate": 1e-3}, "unknown setting learning_rate; did you mean train.lr?"),
        ({"train__max_length": 64}, "unknown setting train.max_length; did you mean data.length?"),
        ({"batchsize": 8}, "unknown setting batchsize; did you mean train.batch_size?"),
        ({"save__xyz": 1}, "unknown setting save.xyz; known are every, keep, model"),
        ({"train__steps": "ten"}, "train.steps is a whole number, not 'ten'"),
        ({"train__steps": 2.5}, "train.steps is a whole number, not 2.5"),
        ({"train__steps": True}, "train.steps is a whole number, not True"),
        ({"train__lr": "fast"}, "train.lr is a number, not 'fast'"),
        ({"train__budget": 2.5}, "train.budget is a text, not 2.5"),
        ({"train": 3}, "train is a table of settings, not 3"),
        ({"tasks": 3}, "tasks is a table of settings, not 3"),
        ({"data__train": 3}, "data.train is a list of texts, not 3"),
        ({"out": 1.5}, "out is a text, not 1.5"),
    ],
)
def test_a_setting_of_the_wrong_name_or_kind(changes: dict[str, Any], said: str) -> None:
    assert line(lambda: of(**changes)) == said


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "the recipe lacks out and task"),
        ({"task": "mlm"}, "the recipe lacks out"),
        ({"out": "x", "train": {"steps": 1}}, "the recipe lacks task"),
    ],
)
def test_a_missing_setting(tables: dict[str, Any], said: str) -> None:
    assert line(lambda: Recipe.of(tables)) == said


def test_numbers_and_lists_are_taken_where_they_fit() -> None:
    recipe = of(train__lr=1, data__train="one.csv", data__dev=["a.csv", "b.csv"], encoder__freeze=2, seed=0)
    assert (recipe.train.lr, recipe.data.train, recipe.data.dev) == (1.0, ("one.csv",), ("a.csv", "b.csv"))
    assert recipe.encoder.freeze == "2"


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        ("train.lr=1e-3", ("train", "lr"), 1e-3),
        ("train.steps = 7", ("train", "steps"), 7),
        ("train.budget=2m", ("train", "budget"), "2m"),
        ('data.train=["a.csv", "b.csv"]', ("data", "train"), ["a.csv", "b.csv"]),
        ("data.store=runs/a=b", ("data", "store"), "runs/a=b"),
        ("data.store=тексты/склад", ("data", "store"), "тексты/склад"),
        ('encoder.freeze="1"', ("encoder", "freeze"), "1"),
        ("encoder.freeze=", ("encoder", "freeze"), ""),
        ("tasks.mlm.rate=0.3", ("tasks", "mlm", "rate"), 0.3),
    ],
)
def test_forms_of_set(text: str, where: tuple[str, ...], value: Any) -> None:
    found: Any = overridden({"train": {"lr": 5.0}, "data": {"length": 64}}, (text,))
    for key in where:
        found = found[key]
    assert found == value


def test_set_changes_one_setting_and_the_last_one_wins() -> None:
    given = {"train": {"lr": 5.0, "steps": 3}}
    assert overridden(given, ("train.lr=1", "train.lr=2")) == {"train": {"lr": 2, "steps": 3}}
    assert given == {"train": {"lr": 5.0, "steps": 3}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.lr", "--set takes key=value, as in train.lr=1e-3, not 'train.lr'"),
        ("task.name=mlm", "--set task.name=mlm: 'task' is a single setting, not a table"),
        ("train.lrr=1", "unknown setting train.lrr; did you mean train.lr?"),
        ("=1", "unknown setting ; known are "),
    ],
)
def test_what_set_refuses(text: str, said: str) -> None:
    assert line(lambda: Recipe.of(overridden({"out": "x", "task": "mlm"}, (text,)))).startswith(said)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5 m", 90), (" 3s ", 3)])
def test_forms_of_a_budget(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "10", "m", "-3s", "3 days", "1h30m", "1e3s", "３s x"])
def test_what_is_no_budget(text: str) -> None:
    assert line(lambda: seconds(text)).startswith("a budget is a number with s, m or h, as in 90s, 10m or 2h, not ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__steps": 5, "train__epochs": 1.0}, "train.steps and train.epochs are set; only one can say how long"),
        ({"train__steps": 5, "train__budget": "2s"}, "train.steps and train.budget are set; only one"),
        ({"train__epochs": 1.0, "train__budget": "2s"}, "train.epochs and train.budget are set; only one"),
        ({"train__budget": "soon"}, "a budget is a number with s, m or h"),
        ({"train__steps": 0}, "train.steps is at least 1, not 0"),
        ({"train__epochs": -1.0}, "train.epochs is a number above 0, not -1.0"),
        ({"train__epochs": float("inf")}, "train.epochs is a number above 0, not inf"),
        ({"train__lr": -1.0}, "train.lr is a number above 0, not -1.0"),
        ({"train__lr": float("nan")}, "train.lr is a number above 0, not nan"),
        ({"train__clip": 0.0}, "train.clip is a number above 0, not 0.0"),
        ({"train__weight_decay": -0.1}, "train.weight_decay is at least 0, not -0.1"),
        ({"train__dropout": 1.0}, "train.dropout is a share from 0 up to 1, not 1.0"),
        ({"train__warmup": -0.5}, "train.warmup is a share from 0 up to 1, not -0.5"),
        ({"train__decay": 1.0}, "train.decay is a share from 0 up to 1, not 1.0"),
        ({"train__growth": 1.5}, "train.growth is a share from 0 up to 1, not 1.5"),
        ({"train__average": 1.0}, "train.average is a share from 0 up to 1, not 1.0"),
        ({"train__horizon": 0}, "train.horizon is at least 1, not 0"),
        ({"train__optimizer": "lamb"}, "unknown optimizer 'lamb'; known are adamw, muon"),
        ({"train__matrix_lr": 0.0}, "train.matrix_lr is a number above 0, not 0.0"),
        ({"train__batch_size": 0}, "train.batch_size is at least 1, not 0"),
        ({"train__start_batch_size": 0}, "train.start_batch_size is at least 1, not 0"),
        (
            {"train__start_batch_size": 9, "train__batch_size": 8},
            "start_batch_size is at most batch_size, which is 8, not 9",
        ),
        ({"data__start_length": 7}, "data.start_length is at least 8, not 7"),
        ({"data__start_length": 256}, "start_length is at most length, which is 128, not 256"),
        ({"train__micro_tokens": 0}, "train.micro_tokens is at least 1, not 0"),
        ({"train__schedule": "zigzag"}, "unknown schedule 'zigzag'; known are linear, cosine, trapezoid, constant"),
        ({"train__precision": "fp8"}, "unknown precision 'fp8'; known are auto, bf16, fp32"),
        ({"data__length": 7}, "data.length is at least 8, not 7"),
        ({"save__keep": 0}, "save.keep is at least 1, not 0"),
        ({"save__model": "first"}, "save.model is last or best, not 'first'"),
        ({"evaluate__examples": -1}, "evaluate.examples is at least 0, not -1"),
        ({"evaluate__every": 0}, "evaluate.every is at least 1, not 0"),
        ({"encoder__start": "a", "encoder__like": "b"}, "encoder.like gives its shape to an encoder from scratch"),
    ],
)
def test_settings_out_of_range_or_against_each_other(changes: dict[str, Any], said: str) -> None:
    assert line(lambda: check(of(**changes))).startswith(said)


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("nonsense", {}, "unknown task 'nonsense'; known are "),
        ("mlm+", {}, "unknown task ''; known are "),
        ("", {}, "unknown task ''; known are "),
        ("base", {}, "unknown task 'base'; known are "),
        ("nsp+nsp", {}, "nsp and nsp cannot be joined: both need examples of their own"),
        ("mlm+mlm", {}, "mlm and mlm cannot be joined: both change the input ids"),
        ("nsp+classify", {}, "nsp+classify cannot be joined: some parts read documents, others labelled rows"),
        ("nothere.py:Mine", {}, "nothere.py: no such Python file"),
        ("mlm", {"nsp": {}}, "[tasks.nsp] is set, and the run's task is mlm"),
        ("mlm", {"mlm": {"rat": 0.1}}, "unknown setting tasks.mlm.rat; did you mean tasks.mlm.rate?"),
        ("mlm+bow", {"bow": {"rate": 0.1}}, "unknown setting tasks.bow.rate; tasks.bow has none"),
        ("mlm", {"mlm": {"rate": "much"}}, "tasks.mlm.rate is a number, not 'much'"),
        ("mlm", {"mlm": {"rate": 1.5}}, "mlm.rate is a share between 0 and 1, not 1.5"),
        ("mlm", {"mlm": 3}, "tasks.mlm is a table of settings, not 3"),
        ("mlm", {"mlm": {"unit": "words"}}, "mlm.unit is token, word or span, not 'words'"),
        ("nsp", {"nsp": {"random": 50}}, "nsp.random is a share from 0 to 1, not 50.0"),
        ("nsp", {"nsp": {"short": -0.1}}, "nsp.short is a share from 0 to 1, not -0.1"),
        ("sop", {"sop": {"swapped": 2.0}}, "sop.swapped is a share from 0 to 1, not 2.0"),
        ("ssp", {"ssp": {"random": 1.5}}, "ssp.random is a share from 0 to 1, not 1.5"),
        ("mlm", {"weights": {"mlm": 2.0}}, "[tasks.weights] is set, and the run's task is mlm"),
        ("mlm+nsp", {"weights": 3}, "tasks.weights is a table of numbers, not 3"),
        ("mlm+nsp", {"weights": {"sop": 2.0}}, "tasks.weights.sop is set, and the run's tasks are mlm, nsp"),
        ("mlm+nsp", {"weights": {"nsp": "much"}}, "tasks.weights.nsp is a number, not 'much'"),
        ("mlm+nsp", {"weights": {"nsp": -1}}, "the weights of mlm+nsp are numbers of at least 0"),
    ],
)
def test_a_task_that_cannot_be(task: str, settings: dict[str, Any], said: str) -> None:
    assert line(lambda: task_of(task, settings)).startswith(said)


def test_weights_are_part_of_the_settings(store: Path, tmp_path: Path) -> None:
    """Set in a recipe, kept in the run's; what is reported of a part does not depend on them."""
    task = task_of("nsp+mlm", {"weights": {"nsp": 0.25}})
    assert isinstance(task, Joint)
    assert task.weights == (0.25, 1.0)
    assert task_of(task.name, task.settings) == task_of(task.name, settings_of(task.name, task)) == task
    weighted = runs.pretraining(store, tmp_path / "run", task="nsp+mlm", tasks__weights__nsp=0.25, train__steps=2)
    home = runs.done(weighted)
    assert load(home / "recipe.toml")["tasks"]["weights"] == {"nsp": 0.25, "mlm": 1.0}
    record = Provenance.read(home / "model")
    assert record is not None
    assert record.settings["weights"] == {"nsp": 0.25, "mlm": 1.0}
    plain = runs.done(runs.pretraining(store, tmp_path / "plain", task="nsp+mlm", train__steps=2))
    one, other = (runs.metrics(folder)[0] for folder in (home, plain))
    assert one["mlm.loss"] == other["mlm.loss"]
    assert one["nsp.loss"] == other["nsp.loss"]
    assert one["grad_norm"] != other["grad_norm"]


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        ("mlm+nsp", {"mlm": {"rate": 0.3}, "weights": {"mlm": 2.0}}),
        ("mlm+own/mine.py:Mine", {"mlm": {"rate": 0.3}, "mine": {"a": 1}, "weights": {"mlm": 2.0, "mine": 0.5}}),
        ("mlm", {"mlm": {"rate": 0.3}}),
    ],
)
def test_another_objective_keeps_the_settings_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, kept: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("from bertwright.tasks.mlm import MaskedLM\nclass Mine(MaskedLM): ...\n")
    tables = {"mlm": {"rate": 0.3}, "mine": {"a": 1}, "weights": {"mlm": 2.0, "mine": 0.5}}
    assert laid_over({"task": "mlm+mine", "tasks": tables}, {"task": objective})["tasks"] == kept


@pytest.mark.parametrize("objective", ["mlm+nsp", "mlm+sop", "mlm+ssp"])
@pytest.mark.parametrize("unit", ["word", "span"])
def test_objectives_on_pairs_with_modernbert(store: Path, tmp_path: Path, objective: str, unit: str) -> None:
    changes = {"encoder__arch": "modern", "train__steps": 2, "tasks__mlm__unit": unit}
    home = runs.done(runs.pretraining(store, tmp_path / "run", task=objective, **changes))
    assert f"{objective.partition('+')[2]}.accuracy" in runs.metrics(home)[-1]["heldout"]


def test_the_architecture_is_that_of_what_an_encoder_starts_from(
    pretrained: Path, store: Path, labelled: Path, tmp_path: Path
) -> None:
    """Whatever recipe is laid over it."""
    for name, tables in {
        "on": runs.pretraining(store, tmp_path / "on", encoder__start=str(pretrained), encoder__arch="modern"),
        "tuned": runs.finetuning(pretrained, labelled, tmp_path / "tuned", encoder__arch="electra"),
    }.items():
        home = runs.done(tables | {"train": {**tables["train"], "steps": 1}})
        assert Recipe.read(home / "recipe.toml").encoder.arch == "bert", name
        assert runs.done(tables | {"train": {**tables["train"], "steps": 1}}) == home


def test_a_task_of_ones_own(store: Path, tmp_path: Path) -> None:
    own = tmp_path / "rarely.py"
    own.write_text(
        "from dataclasses import dataclass\n"
        "from bertwright.tasks.mlm import MaskedLM\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Rarely(MaskedLM):\n"
        "    rate: float = 0.05\n"
        "    @property\n"
        "    def name(self):\n"
        "        return 'mlm'\n",
        encoding="utf-8",
    )
    tables = runs.pretraining(store, tmp_path / "run", task=f"{own}:Rarely", train__steps=1)
    recipe = Recipe.read(runs.done(tables | {"tasks": {"rarely": {"mask": 0.5}}}) / "recipe.toml")
    assert recipe.tasks == {"rarely": {"rate": 0.05, "unit": "token", "mask": 0.5, "random": 0.1, "z_loss": 0.0}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such recipe"),
        (b"out = ", "is not a recipe in TOML"),
        ("out = 'х'".encode("cp1251"), "is not a recipe in TOML"),
        (b"\0\1\2", "is not a recipe in TOML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    assert said in line(lambda: load(path))


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert "is not a recipe in TOML" in line(lambda: load(tmp_path))


def test_differences_name_both_sides() -> None:
    assert differences(of(train__lr=1.0, seed=2), of(train__lr=2.0)) == {
        "seed": "seed: 2 here, 1 there",
        "train.lr": "train.lr: 1.0 here, 2.0 there",
    }
    assert differences(of(train__steps=5), of()) == {"train.steps": "train.steps: 5 here, unset there"}
    assert differences(of(data__store="s"), of()) == {"data.store": "data.store: s here, unset there"}
    assert differences(of(), of()) == {}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_says_what_it_brings_and_trains(path: Path, store: Path, tmp_path: Path) -> None:
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    for word in ("# Expect:", "# Cost:", f"bertwright pretrain STORE --out RUN --recipe {path.stem}"):
        assert word in header
    given = nested({"out": str(tmp_path / "run"), "data.store": str(store), "encoder.size": "tiny", "train.steps": 2})
    recipe = Recipe.of(laid_over(tables_of(path.stem), given))
    assert Recipe.of(tomllib.loads(recipe.write())) == recipe
    run(recipe, runs.Watcher())
    assert (tmp_path / "run" / "model").is_dir()


def test_the_default_recipe_is_shipped() -> None:
    assert DEFAULT in {path.stem for path in SHIPPED}
    assert tables_of(DEFAULT) == load(next(path for path in SHIPPED if path.stem == DEFAULT))


def test_an_objective_may_start_from_a_recipe_of_its_own() -> None:
    assert [recipe_for(one) for one in (None, "mlm+nsp", "rtd", "nsp+rtd")] == [DEFAULT, DEFAULT, "electra", "electra"]


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    known = ", ".join(path.stem for path in SHIPPED)
    assert line(lambda: tables_of("modren")) == (
        f"no recipe is called 'modren'; shipped are {known}, and FILE.toml is one of your own"
    )
    assert line(lambda: tables_of(str(tmp_path / "no.toml"))).endswith("no.toml: no such recipe")


def test_what_is_given_goes_before_the_recipe() -> None:
    recipe = {"task": "mlm", "tasks": {"mlm": {"rate": 0.3}}, "encoder": {"arch": "modern"}, "train": {"epochs": 3.0}}
    same = laid_over(recipe, nested({"train.lr": 1.0}))
    assert same == {**recipe, "train": {"epochs": 3.0, "lr": 1.0}}
    other = laid_over(recipe, nested({"task": "nsp", "train.budget": "5m", "encoder.size": "tiny"}))
    assert other == {
        "task": "nsp",
        "tasks": {},
        "encoder": {"arch": "modern", "size": "tiny"},
        "train": {"budget": "5m"},
    }
    assert recipe["train"] == {"epochs": 3.0}
    grows = {"task": "mlm", "data": {"start_length": 32}, "train": {"start_batch_size": 32, "batch_size": 64}}
    assert laid_over(grows, nested({"train.batch_size": 8}))["train"] == {"batch_size": 8}
    assert laid_over(grows, nested({"data.length": 16}))["data"] == {"length": 16}


def test_train_with_set_is_the_run_of_the_verb(
    store: Path, pretrained: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bertwright.cli import main

    def called(*words: object) -> None:
        monkeypatch.setattr("sys.argv", ["bertwright", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0

    few = ("--steps", 2, "--batch-size", 8, "--length", 32, "--lr", "0.002", "--seed", 3)
    of_verb = ("--recipe", "roberta", "--objective", "mlm", "--size", "tiny", "--set", "train.dropout=0.0")
    called("pretrain", store, "--out", tmp_path / "verb", *of_verb, *few)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'out = "elsewhere"\ntask = "mlm"\nseed = 3\n[data]\nstore = "{store}"\nlength = 32\n'
        '[encoder]\nsize = "tiny"\n[train]\nsteps = 9\nbatch_size = 8\nlr = 0.002\n',
        encoding="utf-8",
    )
    called("train", recipe, "--set", f"out={tmp_path / 'recipe'}", "--set", "train.steps=2")
    assert runs.same_weights(tmp_path / "verb", tmp_path / "recipe")
    tuned = ("--train", labelled, "--steps", 2, "--freeze", 1)
    called("finetune", pretrained, *tuned, "--out", tmp_path / "tuned", "--set", "train.dropout=0.2")
    recipe.write_text(
        f'out = "{tmp_path / "again"}"\ntask = "classify"\n[data]\ntrain = "{labelled}"\n'
        f'[encoder]\nstart = "{pretrained}"\nfreeze = "1"\n[train]\nsteps = 2\ndropout = 0.2\n',
        encoding="utf-8",
    )
    called("train", recipe)
    assert runs.same_weights(tmp_path / "tuned", tmp_path / "again")
    assert not Path("elsewhere").exists()


def test_a_bad_recipe_leaves_nothing(store: Path, tmp_path: Path, refused: Refused) -> None:
    for changes in ({"train__lr": -1.0}, {"task": "nonsense"}, {"encoder__size": "huge"}, {"encoder__freeze": "all"}):
        refused(runs.pretraining(store, tmp_path / "run", **changes), BertwrightError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"train__clip": 0.01},
        {"train__weight_decay": 0.3},
        {"train__schedule": "trapezoid", "train__decay": 0.5},
        {"train__dropout": 0.3},
        {"train__optimizer": "muon", "train__matrix_lr": 1e-3},
    ],
    ids=str,
)
def test_each_setting_of_training_makes_another_model(
    pretrained: Path, store: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    """And the last of several is not what the others alone make."""
    home = runs.done(runs.pretraining(store, tmp_path / "run", **change))
    assert not runs.same_weights(home, pretrained)
    if len(change) > 1:
        first = dict([next(iter(change.items()))])
        assert not runs.same_weights(home, runs.done(runs.pretraining(store, tmp_path / "other", **first)))
