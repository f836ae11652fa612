"""Every argument that transformers had for a run is accepted, and says what becomes of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import HfArgumentParser

from bertwright.errors import BertwrightError
from bertwright.hf.argument_states import DONE, IGNORED, KNOWN, REFUSED, TRANSLATED
from bertwright.hf.arguments import ArgumentError, TrainingArguments

TABLE = Path(__file__).resolve().parents[2] / "docs" / "training-arguments.md"
THEIRS = {field.name: field.default for field in dataclasses.fields(transformers.TrainingArguments)}
RENAMED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch", "do_eval": True}),
    ({"evaluate_during_training": True}, {"eval_strategy": "steps"}),
    ({"per_gpu_train_batch_size": 16}, {"per_device_train_batch_size": 16, "train_batch_size": 16}),
    ({"per_gpu_eval_batch_size": 2}, {"per_device_eval_batch_size": 2}),
    ({"no_cuda": True}, {"use_cpu": True}),
    ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
    ({"warmup_ratio": 0.1, "warmup_steps": 7}, {"warmup_steps": 7}),
    ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
    ({"fp16": True}, {"bf16": True, "fp16": False}),
    ({"fp16_backend": "amp"}, {"bf16": False}),
    ({"save_safetensors": False}, {}),
    ({"overwrite_output_dir": True}, {"overwrite_output_dir": True}),
    ({"logging_dir": "logs"}, {"logging_dir": "logs"}),
    ({"adafactor": True}, {"optim": "adafactor"}),
    ({"optim": "adamw_hf"}, {"optim": "adamw_torch_fused"}),
    ({"include_inputs_for_metrics": True}, {"include_for_metrics": ["inputs"]}),
    ({"push_to_hub_token": "x"}, {"hub_token": "x"}),
]


@pytest.mark.parametrize(("old", "today"), RENAMED, ids=[next(iter(old)) for old, _ in RENAMED])
def test_an_older_name_is_translated_with_one_warning(old: dict[str, Any], today: dict[str, Any]) -> None:
    with pytest.warns(FutureWarning) as warned:
        args = TrainingArguments("runs/a", **old)
    assert [str(one.message).split(":")[0].split("=")[0] for one in warned] == [next(iter(old))]
    assert warned[0].filename == __file__
    assert {name: getattr(args, name) for name in today} == today


def test_an_argument_can_be_asked_for_by_its_older_name() -> None:
    args = TrainingArguments("runs/a", eval_strategy="epoch", per_device_train_batch_size=16)
    assert args.evaluation_strategy == args.eval_strategy == "epoch"
    assert args.per_gpu_train_batch_size == 16
    with pytest.raises(AttributeError, match="no attribute 'evaluation_strateg'"):
        args.evaluation_strateg  # noqa: B018


@pytest.mark.parametrize(
    ("asked", "today"),
    [
        ({"eval_strategy": "epoch"}, {"save_strategy": "epoch"}),
        ({"eval_strategy": "steps", "eval_steps": 30}, {"save_strategy": "steps", "save_steps": 30}),
        ({"eval_strategy": "steps", "eval_steps": 30, "save_steps": 40}, {"save_steps": 30}),
    ],
)
def test_the_best_model_is_among_those_that_are_saved(asked: dict[str, Any], today: dict[str, Any]) -> None:
    """Up to 4.2 it was saved at each evaluation, without a save_strategy, whatever save_steps said."""
    with pytest.warns(FutureWarning, match="load_best_model_at_end: today that needs") as warned:
        args = TrainingArguments("runs/a", load_best_model_at_end=True, **asked)
    assert len(warned) == 1
    assert {name: getattr(args, name) for name in today} == today


def test_what_goes_with_the_best_model_stays_as_asked() -> None:
    args = TrainingArguments("runs/a", load_best_model_at_end=True, eval_strategy="steps", eval_steps=30, save_steps=60)
    assert (args.save_steps, args.save_strategy) == (60, "steps")
    with pytest.raises(ArgumentError, match="requires the save and eval strategy to match"):
        TrainingArguments("runs/a", load_best_model_at_end=True, eval_strategy="epoch", save_strategy="steps")


def test_every_argument_of_the_installed_transformers_has_a_state() -> None:
    assert THEIRS.keys() - KNOWN == set()
    assert len(KNOWN) == len(DONE) + len(TRANSLATED) + len(IGNORED) + len(REFUSED)


def test_the_table_lists_them_all() -> None:
    lines = re.findall(r"^\| `(\w+)` \| (\w+) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    states = dict.fromkeys(DONE, "done") | dict.fromkeys(TRANSLATED, "translated")
    states |= dict.fromkeys(IGNORED, "ignored") | dict.fromkeys(REFUSED, "refused")
    assert dict(lines) == states
    assert [name for name, _ in lines] == sorted(states)


def test_at_its_default_every_argument_is_silent() -> None:
    plain = {name: value for name, value in THEIRS.items() if value is not dataclasses.MISSING}
    plain["output_dir"] = "runs/a"
    args = TrainingArguments(**plain)
    assert args.to_dict() == TrainingArguments("runs/a").to_dict()
    assert dataclasses.replace(args, seed=3).seed == 3


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_says_why(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}=7 is refused: .*; leave it out$"):
        TrainingArguments("runs/a", **{name: 7})


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_what_is_ignored_says_why(name: str) -> None:
    value = False if THEIRS.get(name) is True else 7
    with pytest.warns(FutureWarning, match=f"^{re.escape(f'{name}={value!r}')} is ignored: .*[.]$"):
        TrainingArguments("runs/a", **{name: value})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"lerning_rate": 1e-3}, "has no argument 'lerning_rate'; did you mean learning_rate?"),
        ({"xyzzy": 1}, "has no argument 'xyzzy'; docs/training-arguments.md lists"),
        ({"optim": "galore_adamw"}, "optim='galore_adamw' is not among adamw_torch,"),
        ({"eval_strategy": "often"}, "often is not a valid IntervalStrategy"),
        ({"load_best_model_at_end": True}, "requires the save and eval strategy to match"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is at least 1, not 0"),
        ({"save_total_limit": -1}, "save_total_limit is at least 0"),
    ],
)
def test_bad_values_are_one_line(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        TrainingArguments("runs/a", **asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, BertwrightError | TypeError | ValueError)


def test_the_best_needs_a_measure() -> None:
    with pytest.raises(ArgumentError, match='save_strategy="best" needs metric_for_best_model, such as "loss"'):
        TrainingArguments("runs/a", eval_strategy="epoch", save_strategy="best")


def test_only_the_folder_goes_by_position() -> None:
    assert TrainingArguments("runs/a").output_dir == "runs/a"
    with pytest.raises(ArgumentError, match="takes output_dir by position"):
        TrainingArguments("runs/a", True)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="WORLD_SIZE is 2"):
        TrainingArguments("runs/a")


def test_to_callbacks_it_is_transformers_own() -> None:
    args = TrainingArguments("runs/a", max_steps=10, warmup_steps=0.25, use_cpu=True, hub_token="secret")
    assert isinstance(args, transformers.TrainingArguments)
    assert (args.device.type, args.n_gpu, args.process_index, args.world_size) == ("cpu", 0, 0, 1)
    assert args.should_save
    assert args.get_warmup_steps(10) == 3
    assert "secret" not in args.to_json_string()
    assert args.to_sanitized_dict()["train_batch_size"] == 8
    assert TrainingArguments("runs/a", optim="muon").to_dict()["optim"] == "muon"


def test_transformers_own_become_ours() -> None:
    args = TrainingArguments.of(transformers.TrainingArguments("runs/a", max_steps=3, use_cpu=True))
    assert (type(args), args.max_steps, args.home) == (TrainingArguments, 3, Path("runs/a"))
    assert args.given >= {"output_dir", "max_steps", "use_cpu"}
    assert not args.given & {"learning_rate", "per_device_train_batch_size", "weight_decay", "warmup_steps", "bf16"}


def test_a_class_on_top_of_transformers_own_keeps_what_it_has_besides() -> None:
    @dataclasses.dataclass
    class More(transformers.TrainingArguments):
        cache_dir: str = "somewhere"

    made = TrainingArguments.of(More("runs/a", learning_rate=1e-3, cache_dir="here"))
    assert (made.learning_rate, made.output_dir, made.cache_dir) == (1e-3, "runs/a", "here")


def test_a_command_line_becomes_arguments(recwarn: pytest.WarningsRecorder) -> None:
    parser = HfArgumentParser(TrainingArguments)
    (args,) = parser.parse_args_into_dataclasses(["--output_dir", "runs/a", "--do_train", "--seed", "3"])
    assert (args.output_dir, args.do_train, args.seed, args.overwrite_output_dir) == ("runs/a", True, 3, False)
    assert not recwarn.list
    with pytest.warns(FutureWarning, match="overwrite_output_dir"):
        (args,) = parser.parse_args_into_dataclasses(["--output_dir", "runs/a", "--overwrite_output_dir"])
    assert args.overwrite_output_dir is True


def test_a_dataclass_of_ones_own_understands_older_names_too() -> None:
    @dataclasses.dataclass
    class Own(TrainingArguments):
        rate: float = 0.1

    with pytest.warns(FutureWarning) as warned:
        args = Own("runs/a", overwrite_output_dir=True, evaluation_strategy="epoch", jit_mode_eval=False, rate=0.2)
    assert len(warned) == 2
    assert warned[0].filename == __file__
    assert (args.overwrite_output_dir, args.eval_strategy, args.rate) == (True, "epoch", 0.2)
    assert args.given == {"output_dir", "overwrite_output_dir", "eval_strategy", "rate"}
    with pytest.raises(ArgumentError, match="has no argument 'evaluation_strateg'; did you mean evaluation_strategy"):
        Own("runs/a", evaluation_strateg="epoch")
    with pytest.raises(ArgumentError, match="per_device_train_batch_size is at least 1"):
        Own("runs/a", per_device_train_batch_size=0)


def test_a_dataclass_of_ones_own_may_follow() -> None:
    @dataclasses.dataclass
    class More(TrainingArguments):
        mine: int = 3

    args = More("runs/a", max_steps=2)
    assert (args.mine, args.max_steps, args.overwrite_output_dir, args.device.type) == (3, 2, False, args.device.type)
    assert TrainingArguments.of(args) is args
