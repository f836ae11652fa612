"""Checkpoints read and written: whole, in shards, old, half-fitting and broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining, BertModel

from bertwright.encoders.base import Encoder, called, hf_names
from bertwright.encoders.exchange import Checkpoint, save
from bertwright.errors import CheckpointError, RunError

OwnTensors = Callable[..., dict[str, Tensor]]


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def line(call: Callable[[], object], kind: type[Exception] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_what_was_loaded_missed_and_left(folder: Path, encoder: Encoder) -> None:
    head = nn.ModuleList([encoder.pooler(), called(nn.Linear(32, 5), "classifier")])
    loaded = Checkpoint.open(folder).load_into(head, hf_names(head))
    assert loaded.loaded == ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    assert loaded.missing == ["classifier.weight", "classifier.bias"]
    assert "cls.seq_relationship.weight" in loaded.unused
    assert "bert.embeddings.word_embeddings.weight" in loaded.unused
    assert not any("pooler" in name or "decoder" in name for name in loaded.unused)


def test_which_tensors_may_be_missing(folder: Path) -> None:
    head, names = called(nn.Linear(32, 5), "classifier"), {"weight": "classifier.weight", "bias": "classifier.bias"}
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.load_into(head, names, optional={"classifier.weight", "classifier.bias"}).loaded == []
    assert checkpoint.load_into(head, names, optional=lambda name: name.startswith("classifier")).loaded == []
    said = line(lambda: checkpoint.load_into(head, names, optional={"classifier.bias"}))
    assert said.startswith(
        f"{folder}: does not fit (+ asked for and not in the checkpoint, - in it and not asked for): "
        "+ classifier.weight, - bert.embeddings.LayerNorm.bias, "
    )
    assert said.endswith("more")


@pytest.mark.parametrize("made_by", ["transformers", "us"])
def test_shards(folder: Path, tmp_path: Path, config: BertConfig, made_by: str) -> None:
    whole = Encoder.from_pretrained(folder)
    shards = tmp_path / "shards"
    if made_by == "transformers":
        BertForPreTraining.from_pretrained(folder).save_pretrained(shards, max_shard_size="20KB")
    else:
        tensors = load_file(folder / "model.safetensors")
        shards.mkdir()
        shutil.copy(folder / "config.json", shards)
        places = {name: f"part-{i % 3}.safetensors" for i, name in enumerate(tensors)}
        for part in set(places.values()):
            save_file({name: tensors[name] for name in tensors if places[name] == part}, shards / part)
        (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert len(list(shards.glob("*.safetensors"))) >= 3
    assert same(Encoder.from_pretrained(shards), whole)
    lost = sorted(shards.glob("*.safetensors"))[0]
    lost.unlink()
    said = line(lambda: Encoder.from_pretrained(shards))
    assert said == f"{shards}: model.safetensors.index.json names {lost.name}, and there is no such file"


def test_an_index_cannot_point_outside_its_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../elsewhere.safetensors"}}))
    assert line(lambda: Checkpoint.open(folder)).endswith("damaged: its weight_map must name files of the same folder")
    index.write_text(json.dumps({"weight_map": {"x": "elsewhere.safetensors"}}))
    (folder.parent / "elsewhere.safetensors").rename(folder / "elsewhere.safetensors")
    assert line(lambda: Checkpoint.open(folder)).endswith("names tensors that no shard holds: x")


def test_names_of_2018_and_tied_copies(folder: Path) -> None:
    want, predictors = Encoder.from_pretrained(folder), []

    def age(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        old = {}
        for name, x in tensors.items():
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            old[name.replace("cls.predictions.bias", "cls.predictions.decoder.bias")] = x
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
        old["bert.embeddings.position_ids"] = torch.arange(24)[None]
        return old

    for change in (lambda x: x, age):
        rewrite(folder, change)
        assert same(Encoder.from_pretrained(folder), want)
        predictors.append(want.predictor())
        names = hf_names(predictors[-1])
        loaded = Checkpoint.open(folder).load_into(predictors[-1], names, optional=())
        assert sorted(loaded.loaded) == sorted(names.values())
        assert not any("decoder" in name or "position_ids" in name for name in loaded.unused)
    assert same(*predictors)
    assert predictors[0].get_parameter("norm.weight").ne(0).all()


def test_a_vocabulary_head_of_its_own_weights_is_refused(folder: Path, encoder: Encoder) -> None:
    rewrite(folder, lambda x: {**x, "cls.predictions.decoder.weight": torch.zeros(50, 32)})
    predictor = encoder.predictor()
    said = line(lambda: Checkpoint.open(folder).load_into(predictor, hf_names(predictor)))
    assert said == (
        f"{folder}: cls.predictions.decoder.weight differs from bert.embeddings.word_embeddings.weight; "
        "only heads tied to the embeddings load"
    )
    assert Encoder.from_pretrained(folder).config.vocab_size == 50


def test_other_types_of_numbers_are_widened(folder: Path) -> None:
    want = Encoder.from_pretrained(folder)
    rewrite(folder, lambda x: {name: t.bfloat16() for name, t in x.items()})
    found = Encoder.from_pretrained(folder)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    for a, b in zip(found.parameters(), want.parameters(), strict=True):
        assert torch.equal(a, b.bfloat16().float())


def test_shapes_that_differ_name_both_sides_and_copy_nothing(folder: Path, config: BertConfig) -> None:
    config.intermediate_size, config.num_hidden_layers = 40, 2
    encoder = Encoder.from_config(config, seed=5)
    before = [p.clone() for p in encoder.parameters()]
    said = line(lambda: Checkpoint.open(folder).load_into(encoder, hf_names(encoder)))
    assert said.startswith(
        f"{folder}: shapes differ: encoder.layer.0.intermediate.dense.weight "
        "[40, 32] in the model, [48, 32] in the checkpoint; "
    )
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


def test_an_encoder_takes_no_gaps(folder: Path) -> None:
    gap = "encoder.layer.1.output.dense.weight"
    rewrite(folder, lambda x: {name.replace("output.dense.w", "output.wide.w"): t for name, t in x.items()})
    said = line(lambda: Encoder.from_pretrained(folder))
    assert f"+ {gap}" in said
    assert "- bert.encoder.layer.1.output.wide.weight" in said


def test_folders_that_are_no_checkpoints(tmp_path: Path, folder: Path) -> None:
    tail = "; a checkpoint is a folder with config.json and model.safetensors"
    gone, empty = tmp_path / "gone", tmp_path / "пусто"
    empty.mkdir()
    kinds = "a checkpoint is a run, a folder with config.json, or a Hub name"
    assert line(lambda: Encoder.from_pretrained(gone)) == f"{gone}: no such folder; {kinds}"
    assert line(lambda: Encoder.from_pretrained(empty)) == f"{empty}: no config.json in it{tail}"
    shutil.copy(folder / "config.json", empty)
    assert line(lambda: Encoder.from_pretrained(empty)) == (
        f"{empty}: no weights in it; accepted are model.safetensors, or model.safetensors.index.json with its shards"
    )
    (empty / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    said = line(lambda: Encoder.from_pretrained(empty))
    assert said.startswith(f"{empty}: its weights are a pickle (pytorch_model.bin), which could run code and is never")
    assert "save_pretrained" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable as JSON: "),
        ("[1]", "expected a JSON object, found a list"),
        ("{}", "no model_type; accepted is one that transformers knows, such as 'bert'"),
        ('{"model_type": "quux"}', "model_type 'quux'; accepted is one that transformers knows, such as 'bert'"),
        ('{"model_type": ["bert"]}', "model_type ['bert']; accepted is one that transformers knows, such as 'bert'"),
        ('{"model_type": "bert", "hidden_size": "x"}', "Field 'hidden_size' expected int, got str"),
    ],
)
def test_configs_that_are_broken(folder: Path, text: str, said: str) -> None:
    (folder / "config.json").write_text(text)
    assert line(lambda: Encoder.from_pretrained(folder)).startswith(f"{folder / 'config.json'}: {said}")


def test_other_architectures_are_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    said = line(lambda: Encoder.from_pretrained(folder))
    assert said.startswith(f"{folder}: model_type 'gpt2' is not one that Encoder reads; accepted: bert")
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 30}')
    said = line(lambda: Encoder.from_pretrained(folder))
    assert said == f"{folder}: hidden_size 30 is not a multiple of num_attention_heads 12"


def test_no_code_of_a_checkpoint_runs(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    (folder / "config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}})
    )
    encoder = Encoder.from_pretrained(folder)
    assert not hasattr(encoder.config, "auto_map")


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_weights(folder: Path, damage: bytes | None) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] if damage is None else damage)
    said = line(lambda: Encoder.from_pretrained(folder))
    assert said.startswith(f"{weights}: damaged or not a safetensors file: ")


def test_what_is_written(encoder: Encoder, tmp_path: Path, own_tensors: OwnTensors) -> None:
    encoder.bfloat16()
    save(tmp_path / "a" / "b", encoder.config, own_tensors(encoder), "BertForMaskedLM")
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert (config["architectures"], config["model_type"], config["dtype"]) == (["BertForMaskedLM"], "bert", "float32")
    tensors = load_file(tmp_path / "a" / "b" / "model.safetensors")
    assert {x.dtype for x in tensors.values()} == {torch.float32}
    assert encoder.config.architectures is None
    read, want = Encoder.from_pretrained(tmp_path / "a" / "b"), encoder.float()
    assert same(read, want)


def test_saving_twice_replaces(encoder: Encoder, tmp_path: Path, own_tensors: OwnTensors) -> None:
    save(tmp_path, encoder.config, own_tensors(encoder), "BertModel")
    encoder.draw(9, "paper")
    save(tmp_path, encoder.config, own_tensors(encoder), "BertModel")
    assert same(Encoder.from_pretrained(tmp_path), encoder)
    assert len(list(tmp_path.iterdir())) == 2


FULL = """
import resource, sys
from bertwright.encoders.base import Encoder, hf_names
from bertwright.encoders.exchange import save
from bertwright.errors import RunError
encoder = Encoder.from_config("tiny", vocab_size=500, seed=1)
tensors = {name: encoder.get_parameter(own) for own, name in hf_names(encoder).items()}
save(sys.argv[1], encoder.config, tensors, "BertModel")
encoder.draw(2, "paper")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(sys.argv[1], encoder.config, tensors, "BertModel")
except RunError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.stdout.startswith(f"{tmp_path}: cannot write a checkpoint of 2 MB: "), run.stderr
    assert "File too large" in run.stdout
    assert run.stdout.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert same(Encoder.from_pretrained(tmp_path), Encoder.from_config("tiny", vocab_size=500, seed=1))


def test_a_place_that_cannot_be_written(encoder: Encoder, tmp_path: Path, own_tensors: OwnTensors) -> None:
    (tmp_path / "file").write_text("")
    said = line(lambda: save(tmp_path / "file", encoder.config, own_tensors(encoder), "BertModel"), RunError)
    assert said.startswith(f"{tmp_path / 'file'}: cannot write a checkpoint of 0 MB: ")
    assert (tmp_path / "file").read_text() == ""


def test_their_base_model_loads_without_a_prefix(tmp_path: Path, config: BertConfig) -> None:
    model = BertModel(config)
    model.save_pretrained(tmp_path)
    encoder = Encoder.from_pretrained(tmp_path)
    assert torch.equal(encoder.word_embeddings.weight, model.embeddings.word_embeddings.weight)
