"""Every file of examples/, run as a person would, in small; what it leaves loads in plain transformers."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import transformers

from bertwright import Trainer

EXAMPLES = Path(__file__).parents[2] / "examples"
FROM_TEXT = {"snippet": [], "masked_lm": ["--epochs", "12"], "next_sentence": ["--epochs", "40"]}
FROM_A_MODEL = {"sequence_classification": "6", "token_classification": "12"}


def main(name: str, *argv: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        # Names that transformers no longer has: saying so is what they are for.
        warnings.filterwarnings("ignore", category=FutureWarning, message="(overwrite|per_gpu|evaluation|warmup)_")
        return module.main([*argv])


def assert_it_loads_in_transformers(folder: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(folder)
    (kind,) = config.architectures
    _, said = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    assert len(transformers.AutoTokenizer.from_pretrained(folder)) == config.vocab_size


def losses(trainer: Trainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_each_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*FROM_TEXT, *FROM_A_MODEL, "same_sentence"}


@pytest.mark.parametrize("name", FROM_TEXT)
def test_pretraining(name: str, tmp_path: Path) -> None:
    trainer = main(name, "--out", str(tmp_path), *FROM_TEXT[name])
    assert_it_loads_in_transformers(tmp_path / "model")
    learned = losses(trainer)
    assert len(learned) < 2 or learned[-1] < learned[0]


@pytest.mark.parametrize("name", FROM_A_MODEL)
def test_fine_tuning(name: str, tmp_path: Path) -> None:
    main("masked_lm", "--out", str(tmp_path / "start"), "--epochs", "1")
    start = str(tmp_path / "start" / "model")
    trainer = main(name, "--start", start, "--out", str(tmp_path / "out"), "--epochs", FROM_A_MODEL[name])
    assert_it_loads_in_transformers(tmp_path / "out" / "model")
    learned = losses(trainer)
    assert learned[-1] < learned[0]


def test_same_sentence_and_a_classifier_from_it(tmp_path: Path) -> None:
    first, second = main("same_sentence", "--out", str(tmp_path), "--epochs", "40")
    for folder in ("pretrained", "model"):
        assert_it_loads_in_transformers(tmp_path / folder)
    assert losses(first)[-1] < losses(first)[0]
    assert second.state.global_step == 30


def test_only_the_import_line_is_ours() -> None:
    """Every name that transformers once had comes from bertwright, whose names have the same meaning."""
    for path in EXAMPLES.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.startswith(("from bertwright.", "import bertwright"))] == []
