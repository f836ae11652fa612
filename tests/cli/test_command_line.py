"""The command line: help at once, one line for what is wrong, JSON alone where it is asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs

import bertwright
from bertwright.run.spec import Recipe

Call = Callable[..., Any]
VERBS = ("quickstart", "prepare", "pretrain", "finetune", "train", "evaluate", "predict", "fill", "inspect", "bench")


def test_help_answers_without_loading_anything_heavy() -> None:
    code = (
        "import io, sys\n"
        "from contextlib import redirect_stdout\n"
        "from bertwright.cli import main\n"
        "for verb in sys.argv[1:]:\n"
        "    sys.argv = ['bertwright', *verb.split(), '--help']\n"
        "    said = io.StringIO()\n"
        "    try:\n"
        "        with redirect_stdout(said): main()\n"
        "    except SystemExit as ended:\n"
        "        heavy = {'torch', 'numpy', 'transformers', 'tokenizers', 'datasets'} & set(sys.modules)\n"
        "        print(verb, ended.code, 'Usage' in said.getvalue(), sorted(heavy))\n"
    )
    verbs = [*VERBS, " "]
    run = subprocess.run([sys.executable, "-c", code, *verbs], capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert run.stdout.splitlines() == [f"{verb} 0 True []" for verb in verbs]


def test_a_model_answers_without_loading_what_only_training_needs(classifier: Path, labelled: Path) -> None:
    """torch's compiler and transformers' models take longer to import than the answers to be found."""
    code = (
        "import sys\n"
        "from bertwright.cli import main\n"
        "sys.argv = ['bertwright', 'predict', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print({'torch._dynamo', 'transformers.modeling_utils'} & set(sys.modules), file=sys.stderr)\n"
    )
    words = [str(classifier), "--input", str(labelled)]
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert len(run.stdout.splitlines()) == len(labelled.read_text(encoding="utf-8").splitlines())
    assert run.stderr.splitlines()[-1] == "set()"


def test_what_is_brought_in_is_not_searched_for_cycles_again_and_again(classifier: Path, labelled: Path) -> None:
    """Python's whole collection, which goes over all objects, is due several times while torch comes in."""
    code = (
        "import gc, sys\n"
        "from bertwright.cli import main\n"
        "sys.argv = ['bertwright', 'predict', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(gc.get_stats()[2]['collections'], file=sys.stderr)\n"
    )
    words = [str(classifier), "--input", str(labelled)]
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stderr.splitlines()[-1]) <= 1


def test_every_verb_is_in_the_help(call: Call) -> None:
    called = call("--help")
    assert called.status == 0
    assert all(verb in called.out for verb in VERBS)
    assert call().out == called.out


def test_the_version(call: Call) -> None:
    assert call("--version") == (0, f"bertwright {bertwright.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nope", "No such option: --nope"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("pretrain", "Missing argument 'store'"),
        ("pretrain store", "Missing option '--out'"),
        ("pretrain store --out x --nope", "No such option: --nope"),
        ("pretrain store --out x --steps ten", "Invalid value for '--steps'"),
        ("pretrain store --out x --set lr", "--set takes key=value, as in train.lr=1e-3, not 'lr'"),
        ("pretrain store --out x --set train.lrr=1", "unknown setting train.lrr; did you mean train.lr?"),
        ("pretrain store --out x --steps 2 --epochs 1", "train.steps and train.epochs are set; only one can say"),
        ("pretrain store --out x --start ck --size base", "--size and --arch are of an encoder from random weights"),
        ("pretrain store --out x --start ck --arch bert", "--size and --arch are of an encoder from random weights"),
        ("pretrain store --out x --objective nonsense", "unknown task 'nonsense'; known are "),
        ("pretrain store --out x --objective nsp+nsp", "nsp and nsp cannot be joined"),
        ("pretrain nothere --out x", "nothere: no such token store; make one with `bertwright prepare"),
        ("finetune nothere/a/b --train t.csv --out x", "nothere/a/b: no such folder"),
        ("finetune ck --train t.csv --out x --start other", "--start takes scratch, not 'other'"),
        ("train nothere.toml", "nothere.toml: no such recipe"),
        (
            "evaluate ck",
            "evaluate takes one of --store, for a model of text, --input, for a model of rows, and --minimal-pairs",
        ),
        ("evaluate ck --store s --input r.csv", "evaluate takes one of --store"),
        ("quickstart --budget 10x", "'10x'"),
        ("quickstart --size huge", "unknown size 'huge'; known are tiny, mini, small, medium, base, large"),
        ("predict ck", "Missing option '--input'"),
        ("predict ./nothere --input r.csv", "nothere: no such folder"),
        ("fill ./nothere [MASK]", "nothere: no such folder"),
        ("inspect ./nothere", "nothere: no such folder"),
        ("prepare nothere.txt --out x", "nothere.txt: no such file or folder"),
        ("prepare t.csv --out x --vocab-size 3", "a vocabulary of 3 entries; accepted are 128 to"),
        ("prepare t.csv --out x --layout zigzag", "unknown layout 'zigzag'"),
    ],
)
def test_bad_use_is_one_line_and_two(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    called = call(*words.split())
    assert (called.status, called.out) == (2, "")
    assert called.err.startswith("bertwright: ")
    assert said in called.err
    assert called.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_of_ones_own_says_where_it_starts(call: Call, store: Path, pretrained: Path, tmp_path: Path) -> None:
    """Its start, its seed and its size are kept where no option is given, as all else in it."""
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        f'task = "mlm"\nseed = 7\n[data]\nlength = 32\n[encoder]\nstart = "{pretrained}"\n[train]\nsteps = 1\n'
    )
    assert call("pretrain", store, "--recipe", recipe, "--out", tmp_path / "run").status == 0
    kept = Recipe.read(tmp_path / "run" / "recipe.toml")
    assert (kept.seed, kept.encoder.start, kept.encoder.arch) == (7, str(pretrained), "bert")


def test_the_traceback_is_for_debugging(call: Call, tmp_path: Path) -> None:
    words = ("pretrain", tmp_path / "nothere", "--out", tmp_path / "run")
    plain, debug = call(*words), call(*words, "--debug")
    assert "Traceback" not in plain.err
    assert "Traceback (most recent call last)" in debug.err
    assert "bertwright.errors.StoreError" in debug.err
    assert (plain.status, debug.status) == (2, 2)
    assert debug.err.endswith(plain.err)


@pytest.mark.parametrize("out", ["file", "file/run"])
def test_a_folder_that_cannot_be_made(call: Call, store: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine")
    for words in (("prepare", store.with_suffix(".txt")), ("pretrain", store, "--steps", 1, "--size", "tiny")):
        called = call(*words, "--out", tmp_path / out)
        assert called.status == 2
        assert called.err.splitlines()[-1].startswith(f"bertwright: {tmp_path}/{out}")
        assert "Traceback" not in called.err
    assert (tmp_path / "file").read_text() == "mine"


def test_prepare_says_what_labels_of_pairs_are_told_by(call: Call, tmp_path: Path) -> None:
    """Each objective on pairs, with how many pairs there were; none where the corpus is a single document."""
    runs.write_texts(tmp_path / "many.txt", runs.documents(300))
    runs.write_texts(tmp_path / "one.txt", runs.documents(1))
    called = call("prepare", tmp_path / "many.txt", "--out", tmp_path / "many", "--vocab-size", 256)
    assert called.status == 0
    for name in ("nsp", "sop", "ssp"):
        assert re.search(rf"^  {name}: \d\d\.\d% ± \d+\.\d% of [\d,]+ pairs", called.out, re.MULTILINE)
    told = json.loads(
        call("prepare", tmp_path / "many.txt", "--out", tmp_path / "many", "--vocab-size", 256, "--json").out
    )
    assert told["pairs"]["ssp"]["pairs"] > 1000
    assert abs(told["pairs"]["ssp"]["told"] - 0.5) < 0.06
    alone = call("prepare", tmp_path / "one.txt", "--out", tmp_path / "one", "--vocab-size", 256).out
    assert "  nsp: the corpus is too small for it" in alone
    assert "  ssp: the corpus is too small for it" in alone


def test_the_tokenizer_of_another_store(call: Call, store: Path, tmp_path: Path) -> None:
    called = call("prepare", store.with_suffix(".txt"), "--out", tmp_path / "store", "--tokenizer", store, "--json")
    assert called.status == 0
    assert json.loads(called.out)["tokenizer"] == json.loads((store / "manifest.json").read_text())["tokenizer"]


def test_json_is_one_object_and_nothing_else(
    call: Call, store: Path, pretrained: Path, classifier: Path, labelled: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'out = "{tmp_path / "c"}"\ntask = "mlm"\n[data]\nstore = "{store}"\n[encoder]\nsize = "tiny"\n')
    one = ("--steps", 1, "--batch-size", 2, "--length", 16)
    commands: dict[tuple[object, ...], str] = {
        ("prepare", store.with_suffix(".txt"), "--out", tmp_path / "store", "--vocab-size", 256): "fingerprint",
        ("pretrain", store, "--out", tmp_path / "a", "--size", "tiny", *one): "heldout",
        ("pretrain", store, "--out", tmp_path / "a", "--size", "tiny", *one, "--json"): "heldout",
        ("finetune", pretrained, "--train", labelled, "--out", tmp_path / "b", *one): "lineage",
        ("train", recipe, "--set", "train.steps=1"): "versions",
        ("evaluate", pretrained, "--store", store, "--examples", 4): "mlm.loss",
        ("evaluate", classifier, "--input", labelled): "classify.accuracy",
        ("fill", pretrained, "The [MASK] saw the [MASK]."): "masks",
        ("inspect", store): "vocab_size",
        ("inspect", pretrained): "says",
    }
    for words, key in commands.items():
        called = call(*words, "--json")
        assert (called.status, called.err) == (0, "")
        assert key in json.loads(called.out)


def test_what_is_printed_for_people(
    call: Call, store: Path, pretrained: Path, classifier: Path, labelled: Path
) -> None:
    filled = call("fill", pretrained, "The [MASK] saw the [MASK].", "--top", 3)
    assert [line.split(":")[0] for line in filled.out.splitlines()] == ["[MASK] 1", "[MASK] 2"]
    assert filled.out.count("%") == 6
    judged = call("evaluate", classifier, "--input", labelled)
    assert "classify.accuracy   1.0000" in judged.out
    told = call("inspect", pretrained)
    assert "This is pretraining from scratch." in told.out
    assert "token store" in call("inspect", store).out
    assert all(one.status == 0 and one.err == "" for one in (filled, judged, told))


def test_a_mask_of_another_model_is_named(call: Call, pretrained: Path) -> None:
    said = call("fill", pretrained, "The [MASK] saw the <mask> and the [mask], the [mask].")
    assert (said.status, len(said.out.splitlines())) == (0, 1)
    assert said.err == "'<mask>' and '[mask]' were read as text; the mask of this model is [MASK].\n"
    assert call("fill", pretrained, "The [MASK] saw the [MASK].").err == ""


def test_a_run_tells_what_it_does(call: Call, store: Path, tmp_path: Path) -> None:
    words = ("pretrain", store, "--out", tmp_path / "run", "--size", "tiny", "--steps", 2, "--length", 16)
    called = call(*words)
    assert called.status == 0
    assert "Encoder: 0.4 M weights drawn at random (seed 1), words as counted in the text." in called.err
    assert "training: 2 of 2" in called.err
    assert "mlm.loss" in called.out
    again = call(*words)
    assert (again.status, again.err) == (0, f"{tmp_path}/run is finished; nothing to do.\n")
    assert again.out == called.out


def test_columns_of_other_names(call: Call, pretrained: Path, tmp_path: Path) -> None:
    """Also for a task of one's own, whose settings go by the name of its file."""
    made = [{"review": row["text"], "stars": row["label"]} for row in runs.rows()]
    train = runs.write_rows(tmp_path / "train.tsv", made)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from bertwright.tasks.classify import Classify\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(Classify): ...\n"
    )
    few = ("--train", train, "--text-field", "review", "--label-field", "stars", "--steps", 1, "--length", 16)
    for task in ("classify", f"{tmp_path}/mine.py:Mine"):
        called = call("finetune", pretrained, "--task", task, *few, "--out", tmp_path / task[-4:])
        assert (called.status, "Traceback" in called.err) == (0, False)
        assert "accuracy" in called.out


def test_a_model_answers_for_columns_of_other_names(
    call: Call, classifier: Path, pretrained: Path, tmp_path: Path
) -> None:
    made = [{"review": row["text"], "stars": row["label"]} for row in runs.rows(16, seed=5)]
    path = runs.write_rows(tmp_path / "others.csv", made)
    plain = runs.write_rows(tmp_path / "plain.csv", runs.rows(16, seed=5))
    said = call("predict", classifier, "--input", path, "--text-field", "review")
    same = [json.loads(line)["probability"] for line in call("predict", classifier, "--input", plain).out.splitlines()]
    assert [json.loads(line)["probability"] for line in said.out.splitlines()] == same
    fields = ("--text-field", "review", "--label-field", "stars")
    judged = call("evaluate", classifier, "--input", path, *fields)
    assert judged == call("evaluate", classifier, "--input", plain)
    refused = call("evaluate", pretrained, "--store", "store", *fields)
    assert (refused.status, refused.out) == (2, "")
    assert "--text-field and --label-field are of labelled rows, --input" in refused.err


def test_predictions_are_lines_of_json(call: Call, classifier: Path, tmp_path: Path) -> None:
    first = runs.write_rows(tmp_path / "first.csv", [{"id": "1", "text": "The tide."}, {"id": "2", "text": "Сосед."}])
    (tmp_path / "second.txt").write_text("The crew again.\n\nСадовник весной.\n", encoding="utf-8")
    called = call("predict", classifier, "--input", first, "--input", tmp_path / "second.txt")
    assert (called.status, called.err) == (0, "")
    lines = [json.loads(line) for line in called.out.splitlines()]
    assert [line["text"] for line in lines] == ["The tide.", "Сосед.", "The crew again.", "Садовник весной."]
    assert [line.get("id") for line in lines] == ["1", "2", None, None]
    assert "Сосед" in called.out


def test_predictions_for_what_json_has_no_word_for(call: Call, classifier: Path, tmp_path: Path) -> None:
    from datetime import date

    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": ["The tide."], "day": [date(2024, 5, 1)], "raw": [b"\xff"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    called = call("predict", classifier, "--input", tmp_path / "rows.parquet")
    assert (called.status, called.err) == (0, "")
    assert json.loads(called.out)["day"] == "2024-05-01"


def test_rows_from_standard_input(classifier: Path, start: Call) -> None:
    """The rows come one at a time, and the end of those who read ends it without a complaint."""
    process = start("predict", classifier, "--input", "-")
    process.stdin.write('{"text": "The tide."}\n' * 5000)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["text"] == "The tide."
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


def test_nobody_reads_what_is_printed(store: Path, start: Call) -> None:
    process = start("inspect", store, "--json")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


def test_all_weights_zero_are_warned_of(call: Call, store: Path, tmp_path: Path) -> None:
    called = call("pretrain", store, "--out", tmp_path / "run", "--size", "tiny", "--steps", 1, "--init", "zeros")
    assert called.status == 0
    assert "Warning: all weights are zero: " in called.err
    assert "use the law 'paper' to train." in called.err
