"""What a person can get wrong is one clear line, found before anything is written; nothing of theirs is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import runs
from safetensors.torch import load_file, save_file

from bertwright.data.prepare import PrepareSettings, prepare
from bertwright.data.store import TokenStore
from bertwright.errors import BertwrightError, CheckpointError, InputError, RecipeError, RunError, StoreError
from bertwright.run.answering import Answerer
from bertwright.run.provenance import Provenance

Refused = Callable[..., str]


def unprepared(inputs: list[Path], out: Path, **settings: Any) -> str:
    """The one line with which a corpus is refused; nothing is left."""
    with pytest.raises(BertwrightError) as caught:
        prepare(inputs, out, settings=PrepareSettings(**{"vocab_size": 256, **settings}))
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert not out.with_name(f"{out.name}.partial").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        (None, {}, "no such file or folder"),
        (b"", {}, "no text in it"),
        (b"\n \n\t\n", {}, "no text in it"),
        (b"\x00\x01\x02\x03" * 50, {}, "not a text file (it holds NUL bytes); accepted is UTF-8 text"),
        ("Привет, мир. ".encode("cp1251") * 9, {}, "not UTF-8 text; convert it first"),
        (
            b"Plain words. " * 40 + b"\xff\xfe",
            {"strict": True},
            "corpus.txt:1: not UTF-8 (byte 0xff); convert it first",
        ),
    ],
)
def test_a_corpus_that_is_none(tmp_path: Path, content: bytes | None, settings: dict[str, Any], said: str) -> None:
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    assert said in unprepared([path], tmp_path / "store", **settings)
    assert content is None or path.read_bytes() == content


def test_stray_bytes_and_empty_documents_are_passed_over(tmp_path: Path) -> None:
    texts = [*runs.documents(12), "", " \n", *runs.documents(6, seed=4)]
    (tmp_path / "corpus.txt").write_bytes("\n\n".join(texts).encode() + b"\n\nThe end \xff of it.\nAnd no more.\n")
    store = prepare([tmp_path / "corpus.txt"], tmp_path / "store", settings=PrepareSettings(vocab_size=512))
    assert store.manifest["reading"]["undecodable"] == 1
    runs.done(runs.pretraining(tmp_path / "store", tmp_path / "run", train__steps=2))


def test_a_line_of_megabytes(tmp_path: Path) -> None:
    text = " ".join(runs.documents(40)).replace("\n", " ")
    line = text * (2_000_000 // len(text) + 1)
    path = runs.write_texts(tmp_path / "corpus.txt", [line, *runs.documents(4)])
    prepare([path], tmp_path / "store", settings=PrepareSettings(vocab_size=512, layout="lines"))
    assert TokenStore(tmp_path / "store").manifest["parts"]["train"]["bytes"] > 2_000_000
    runs.done(runs.pretraining(tmp_path / "store", tmp_path / "run", train__steps=1))


def test_a_single_document(tmp_path: Path, refused: Refused) -> None:
    store = runs.make_store(tmp_path, runs.documents(1))
    said = refused(runs.pretraining(store, tmp_path / "run"), InputError)
    assert "has a single document for training, and mlm+nsp takes segments from another" in said
    assert "use --objective mlm, or mark where documents begin with blank lines" in said
    home = runs.done(runs.pretraining(store, tmp_path / "run", task="mlm"))
    record = Provenance.read(home / "model")
    assert record is not None
    assert record.heldout == {}


@pytest.mark.parametrize("task", ["mlm+ssp", "ssp", "nsp"])
def test_a_single_document_for_any_objective_on_two(tmp_path: Path, refused: Refused, task: str) -> None:
    store = runs.make_store(tmp_path, runs.documents(1))
    said = refused(runs.pretraining(store, tmp_path / "run", task=task), InputError)
    assert f"has a single document for training, and {task} takes segments from another" in said


def test_documents_of_one_sentence_have_no_order(tmp_path: Path, refused: Refused) -> None:
    texts = [document.splitlines()[0] for document in runs.documents(12)]
    store = runs.make_store(tmp_path, texts)
    said = refused(runs.pretraining(store, tmp_path / "run", task="mlm+sop"), InputError)
    assert "no example can be cut from the data" in said


def test_text_too_short_to_cut_from(tmp_path: Path, refused: Refused) -> None:
    store = runs.make_store(tmp_path, ["a", "b", "c", "d"], vocab_size=128, heldout=0.0)
    tables = runs.pretraining(store, tmp_path / "run", task="nsp")
    assert "no example can be cut from the data" in refused(tables, InputError)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder__size": "huge"}, "unknown size 'huge'; known are tiny, mini, small, medium, base, large"),
        ({"encoder__arch": "lstm"}, "unknown encoder 'lstm'; known are "),
        ({"encoder__init": "magic"}, "unknown initialisation 'magic'; known are paper, local, normal, zeros"),
        ({"encoder__freeze": "everything"}, "freeze takes encoder, embeddings, or a number of layers up to 2, not"),
        ({"encoder__freeze": "3"}, "a number of layers up to 2, not '3'"),
        ({"encoder__freeze": "-1"}, "a number of layers up to 2, not '-1'"),
        ({"task": "nonsense"}, "unknown task 'nonsense'; known are "),
        ({"task": "nsp+nsp"}, "nsp and nsp cannot be joined"),
        ({"task": "classify"}, "task classify learns from labelled rows and needs files: data.train, or --train"),
        ({"data__length": 513}, "data.length is 513, and the encoder has 512 positions (max_position_embeddings); use"),
        ({"data__length": 4}, "data.length is at least 8, not 4"),
        ({"data__store": ""}, "learns from text and needs a token store: data.store, made by `prepare`"),
        ({"data__train": "rows.csv"}, "data.train is set, and task mlm+nsp learns from text, data.store"),
        ({"data__dev": "rows.csv"}, "data.dev is set, and task mlm+nsp learns from text, data.store"),
        ({"train__schedule": "zigzag"}, "unknown schedule 'zigzag'"),
    ],
)
def test_a_recipe_that_cannot_be_run(
    store: Path, tmp_path: Path, refused: Refused, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(runs.pretraining(store, tmp_path / "run", **changes), RecipeError)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_none(tmp_path: Path, labelled: Path, store: Path, refused: Refused) -> None:
    assert "no such token store; make one with" in refused(
        runs.pretraining(tmp_path / "x", tmp_path / "run"), StoreError
    )
    assert "not a token store" in refused(runs.pretraining(labelled, tmp_path / "run"), StoreError)
    shutil.copytree(store, tmp_path / "damaged")
    with open(tmp_path / "damaged" / "train" / "tokens.bin", "ab") as file:
        file.truncate(100)
    assert "damaged: train/tokens.bin has 100 bytes" in refused(
        runs.pretraining(tmp_path / "damaged", tmp_path / "run"), StoreError
    )


def changed(made: list[dict[str, Any]], at: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**row, **fields} if number == at else row for number, row in enumerate(made)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([{"text": "The tide.", "label": "sea"}] * 20, "column 'label' holds 1 class; at least 2 are needed"),
        ([{"text": row["text"]} for row in runs.rows(9)], "train.jsonl:1: column 'label' is missing or empty"),
        (
            [{"body": row["text"], "label": row["label"]} for row in runs.rows(9)],
            "train.jsonl:1: column 'text' is missing or empty; the columns are body, label",
        ),
        (changed(runs.rows(20), 7, text=None), "train.jsonl:8: column 'text' is missing or empty; the columns are"),
        (changed(runs.rows(20), 7, label=None), "train.jsonl:8: column 'label' is missing or empty; the columns are"),
        (
            changed(runs.rows(20), 7, label=" "),
            "train.jsonl:8: column 'label' is empty; every row that is learned from",
        ),
    ],
)
def test_rows_that_teach_nothing(
    pretrained: Path, tmp_path: Path, refused: Refused, made: list[dict[str, Any]], said: str
) -> None:
    train = runs.write_rows(tmp_path / "train.jsonl", made)
    assert said in refused(runs.finetuning(pretrained, train, tmp_path / "run"), InputError)
    assert list(tmp_path.iterdir()) == [train]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (changed(runs.rows(20), 7, label="нет такого"), "dev.jsonl:8: label 'нет такого' is unknown to the model"),
        (changed(runs.rows(20), 7, text=None), "dev.jsonl:8: column 'text' is missing or empty"),
        ([{"text": "The tide."}], "dev.jsonl:1: column 'label' is missing or empty"),
    ],
)
def test_rows_that_cannot_judge_are_refused_before_training(
    pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused, made: list[dict[str, Any]], said: str
) -> None:
    dev = runs.write_rows(tmp_path / "dev.jsonl", made)
    tables = runs.finetuning(pretrained, labelled, tmp_path / "run", data__dev=str(dev))
    assert said in refused(tables, InputError)
    assert list(tmp_path.iterdir()) == [dev]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"", "rows.csv: the file has no rows"),
        ("rows.csv", b"text,label\n", "rows.csv: the file has no rows"),
        ("rows.csv", b"text,label\na,b\nc\n", "rows.csv:3: 1 fields where the first line names 2 (text, label)"),
        ("rows.jsonl", b'{"text": "a", "label"\n', "rows.jsonl:1: not a line of JSON"),
        ("rows.jsonl", b"[1, 2]\n", "rows.jsonl:1: expected a JSON object, found list"),
        ("rows.csv", b"\0\1\2" * 60, "rows.csv: not a text file"),
        ("rows.csv", "текст,метка\nда,нет\n".encode("cp1251") * 5, "rows.csv: not UTF-8 text"),
        ("rows.pdf", b"%PDF", "rows.pdf: not a kind of file that can be read"),
    ],
)
def test_files_that_hold_no_rows(
    pretrained: Path, tmp_path: Path, refused: Refused, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refused(runs.finetuning(pretrained, tmp_path / name, tmp_path / "run"), InputError)
    assert (tmp_path / name).read_bytes() == content


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def lacking_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors | {"stranger": tensors.popitem()[1]}, folder / "model.safetensors", {"format": "pt"})


def config_with(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, **fields}), encoding="utf-8")

    return change


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_cut_short(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def with_a_damaged_record(folder: Path) -> None:
    (folder / "bertwright.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without_weights, "no weights in it; accepted are model.safetensors, or model.safetensors.index.json"),
        (as_pickle, "its weights are a pickle (pytorch_model.bin), which could run code and is never read"),
        (cut_short, "model.safetensors: damaged or not a safetensors file"),
        (lacking_a_tensor, "+ encoder.layer.1.output.dense.weight, - "),
        (config_with(intermediate_size=100), "dense.weight [100, 128] in the model, [512, 128] in the checkpoint"),
        (config_with(model_type="gpt2"), "model_type 'gpt2' is not one that Encoder reads; accepted: bert"),
        (config_with(model_type="nonsense"), "model_type 'nonsense'; accepted is one that transformers knows"),
        (config_with(num_attention_heads=7), "hidden_size 128 is not a multiple of num_attention_heads 7"),
        (without_config, "no config.json in it; a checkpoint is a folder with config.json and model.safetensors"),
        (config_cut_short, "config.json: not readable as JSON"),
        (with_a_damaged_record, "bertwright.json is damaged or of another version"),
    ],
)
def test_a_checkpoint_that_does_not_load(
    pretrained: Path,
    labelled: Path,
    store: Path,
    tmp_path: Path,
    refused: Refused,
    harm: Callable[[Path], None],
    said: str,
) -> None:
    start = tmp_path / "start"
    shutil.copytree(pretrained / "model", start)
    harm(start)
    before = runs.content(start)
    for tables in (
        runs.finetuning(start, labelled, tmp_path / "run"),
        runs.pretraining(store, tmp_path / "run", encoder__start=str(start)),
    ):
        assert said in refused(tables, CheckpointError)
    assert runs.content(start) == before


def test_a_checkpoint_without_a_tokenizer(
    pretrained: Path, labelled: Path, store: Path, tmp_path: Path, refused: Refused
) -> None:
    shutil.copytree(pretrained / "model", tmp_path / "start")
    (tmp_path / "start" / "tokenizer.json").unlink()
    for tables in (
        runs.finetuning(tmp_path / "start", labelled, tmp_path / "run"),
        runs.pretraining(store, tmp_path / "run", encoder__start=str(tmp_path / "start")),
    ):
        assert "start: no tokenizer.json in it" in refused(tables, InputError)


@pytest.mark.parametrize("vocab_size", [256, 512])
def test_a_store_of_another_tokenizer(pretrained: Path, tmp_path: Path, refused: Refused, vocab_size: int) -> None:
    """Also where the vocabularies are of the same size."""
    other = runs.make_store(
        tmp_path, [*runs.documents(seed=8), "Snow lay on the roofs of the town."] * 2, vocab_size=vocab_size
    )
    tables = runs.pretraining(other, tmp_path / "run", encoder__start=str(pretrained))
    said = refused(tables, RecipeError)
    assert f"{other} was made with another tokenizer than that of {pretrained}" in said
    assert said.endswith("prepare the store with the checkpoint's own: --tokenizer CHECKPOINT")
    again = runs.make_store(
        tmp_path, runs.documents(seed=8), "again", vocab_size=16_384, tokenizer=str(pretrained / "model")
    )
    runs.done(runs.pretraining(again, tmp_path / "run", train__steps=1, encoder__start=str(pretrained)))


def test_a_length_beyond_the_positions_of_a_checkpoint(
    pretrained: Path, labelled: Path, store: Path, tmp_path: Path, refused: Refused
) -> None:
    for tables in (
        runs.finetuning(pretrained, labelled, tmp_path / "run", data__length=600),
        runs.pretraining(store, tmp_path / "run", encoder__start=str(pretrained), data__length=600),
        runs.finetuning("scratch", labelled, tmp_path / "run", encoder__like=str(pretrained), data__length=600),
    ):
        assert refused(tables, RecipeError) == (
            "data.length is 600, and the encoder has 512 positions (max_position_embeddings); use --length 512 or less"
        )


def test_a_vocabulary_larger_than_that_of_the_encoder(
    pretrained: Path, store: Path, tmp_path: Path, refused: Refused
) -> None:
    shutil.copytree(pretrained / "model", tmp_path / "start")
    tensors = load_file(tmp_path / "start" / "model.safetensors")
    fewer = {
        name: x[:100].contiguous() if len(x) == TokenStore(store).vocabulary.size else x for name, x in tensors.items()
    }
    save_file(fewer, tmp_path / "start" / "model.safetensors", {"format": "pt"})
    config_with(vocab_size=100)(tmp_path / "start")
    assert refused(runs.pretraining(store, tmp_path / "run", encoder__start=str(tmp_path / "start")), RecipeError) == (
        f"the data has a vocabulary of {TokenStore(store).vocabulary.size} tokens, the encoder knows 100; "
        "prepare the store with the checkpoint's own tokenizer: --tokenizer CHECKPOINT"
    )


@pytest.mark.parametrize("length", [-5, 0, 7, 513])
def test_a_length_that_no_answer_can_have(classifier: Path, length: int) -> None:
    with pytest.raises(RecipeError, match=f"^the length is {length}; accepted are 8 to 512, the encoder's positions$"):
        Answerer(str(classifier), length=length)


def test_a_name_that_is_nearly_right(pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused) -> None:
    asked = pretrained.with_name(pretrained.name + "d")
    said = refused(runs.finetuning(asked, labelled, tmp_path / "run"), CheckpointError)
    assert said.startswith(f"{asked}: no such folder (did you mean {pretrained}?); a checkpoint is a run, ")


def test_what_is_no_checkpoint_is_recognised(
    store: Path, pretrained: Path, labelled: Path, tmp_path: Path, refused: Refused
) -> None:
    said = refused(runs.finetuning(store, labelled, tmp_path / "run"), CheckpointError)
    assert said == f"{store} is a token store; `bertwright pretrain {store} --out RUN` makes a checkpoint of it"
    shutil.copytree(pretrained, tmp_path / "many" / "one")
    said = refused(runs.finetuning(tmp_path / "many", labelled, tmp_path / "run"), CheckpointError)
    assert said == f"{tmp_path}/many is a folder of runs; choose one of them: {tmp_path}/many/one"


def test_rows_need_an_encoder(labelled: Path, tmp_path: Path, refused: Refused) -> None:
    tables = runs.finetuning("scratch", labelled, tmp_path / "run")
    assert "an encoder from scratch needs a checkpoint for its shape and tokenizer" in refused(tables, RecipeError)


def test_all_weights_zero_train_and_are_warned_of(store: Path, tmp_path: Path) -> None:
    watcher = runs.Watcher()
    home = runs.done(runs.pretraining(store, tmp_path / "run", encoder__init="zeros"), watcher)
    (warning,) = [line for line in watcher.said if line.startswith("Warning: ")]
    assert "all weights are zero: every unit of a layer gets the same gradient" in warning
    tensors = runs.weights(home / "model")
    assert {name for name, tensor in tensors.items() if tensor.any()} == {
        "cls.predictions.bias",
        "cls.seq_relationship.bias",
    }


def test_weights_that_are_loaded_are_not_warned_of(store: Path, pretrained: Path, tmp_path: Path) -> None:
    watcher = runs.Watcher()
    given = {"encoder__init": "zeros", "encoder__start": str(pretrained), "train__steps": 1}
    runs.done(runs.pretraining(store, tmp_path / "run", **given), watcher)
    assert not [line for line in watcher.said if "zero" in line]


def test_a_rate_that_is_too_high_says_so(store: Path, tmp_path: Path) -> None:
    tables = runs.pretraining(store, tmp_path / "run", train__lr=1e30, train__warmup=0.0, train__steps=40)
    with pytest.raises(RunError, match=r"the gradient is not finite at step \d+: the learning rate is too high"):
        runs.done(tables)


def test_the_hub_is_asked_last_and_answers_in_one_line(labelled: Path, tmp_path: Path, refused: Refused) -> None:
    """Tests have no network."""
    tables: Mapping[str, Any] = runs.finetuning("nobody/has-such-a-model", labelled, tmp_path / "run")
    said = refused(tables, CheckpointError)
    assert said.endswith(
        ": no such folder here, and not to be had from the Hub (no connection, or HF_HUB_OFFLINE is set)"
    )
