"""What people do with models under transformers' names: swap heads, grow vocabularies, train under transformers."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, ElectraConfig, ModernBertConfig, TrainingArguments

import bertwright
from bertwright import errors
from bertwright.hf import models
from bertwright.hf.models.outputs import Later

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}


@pytest.fixture
def config() -> BertConfig:
    torch.manual_seed(5)
    return BertConfig(**SHAPE)


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(6)
    mask = (torch.arange(9) < torch.tensor([9, 5, 7, 2])[:, None]).long()
    return {"input_ids": torch.randint(1, 50, (4, 9)), "attention_mask": mask}


def masked(inputs: dict[str, Tensor]) -> Tensor:
    return torch.where(torch.arange(9) % 3 == 1, inputs["input_ids"], -100)


def test_a_head_is_swapped_in_one_call_that_says_what_became_of_each_tensor(
    config: BertConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models.BertForPreTraining(config).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "bertwright"):
        model = models.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    assert caplog.messages == [model.says()]
    assert f"Encoder: 37 of 37 tensors loaded from {tmp_path} (parent run " in model.says()
    assert "Head: classify (2 of 4 tensors loaded, the rest new), 4 classes. This is fine-tuning." in model.says()
    assert "Left in the checkpoint: cls.predictions.bias, " in model.says()
    assert model.config.num_labels == model.num_labels == 4
    assert {tensor.name for tensor in model.provenance.tensors if not tensor.loaded} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert not model.training


def test_what_became_of_each_tensor_is_said_as_transformers_says_it(config: BertConfig, tmp_path: Path) -> None:
    """Under its keys, as code reads them; the pooler that is there goes on here, as there."""
    models.BertForPreTraining(config).save_pretrained(tmp_path)
    model, said = models.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=4, output_loading_info=True)
    kind = transformers.BertForSequenceClassification
    _, theirs = kind.from_pretrained(tmp_path, num_labels=4, output_loading_info=True)
    assert model.num_labels == 4
    assert said.keys() >= {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}
    assert said["missing_keys"] == set(theirs["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert said["unexpected_keys"] == {name for name in theirs["unexpected_keys"] if "decoder" not in name}
    assert not said["mismatched_keys"]


def test_a_head_is_swapped_on_a_model_ours_or_theirs(config: BertConfig, inputs: dict[str, Tensor]) -> None:
    for source in (models.BertForMaskedLM(config), transformers.BertForMaskedLM(config)):
        swapped = models.BertForTokenClassification.from_model(source.eval(), num_labels=3)
        want = source.bert(**inputs)[0] * inputs["attention_mask"][..., None]
        torch.testing.assert_close(swapped.bert(**inputs).last_hidden_state, want, rtol=1e-5, atol=1e-5)
        assert swapped(**inputs).logits.shape == (4, 9, 3)
        assert swapped.get_input_embeddings().weight is not source.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["BertForMaskedLM", "ModernBertForMaskedLM"])
def test_a_config_that_transformers_has_used_is_taken_and_left_alone(name: str, tmp_path: Path) -> None:
    theirs, mine = getattr(transformers, name), getattr(models, name)
    used = theirs(theirs.config_class(**SHAPE, pad_token_id=0)).config
    assert used._attn_implementation == "sdpa"
    mine(used).save_pretrained(tmp_path)
    mine.from_pretrained(tmp_path, config=used)
    mine(transformers.AutoConfig.from_pretrained(tmp_path, attn_implementation="sdpa"))
    assert used._attn_implementation == "sdpa"
    assert theirs(used).config._attn_implementation == "sdpa"


class OfTheirs(transformers.BertPreTrainedModel):
    """A model of a person's own as tutorials write it, on our encoder in place of theirs."""

    encoder_class: Any = models.BertModel

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = self.encoder_class(config)
        self.score = nn.Linear(config.hidden_size, 3)
        self.post_init()

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.score(self.bert(**inputs).pooler_output)


class OverWords(transformers.BertPreTrainedModel):
    """The same with a head over the vocabulary below it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.lm = models.BertForMaskedLM(config)
        self.post_init()

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.lm(**inputs).logits


@torch.no_grad()
def test_a_head_over_the_vocabulary_stands_inside_a_model_of_transformers(
    config: BertConfig, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    """Loading puts other parameters in place of those that the model was made with."""
    model = OverWords(config).eval()
    for parameter in model.parameters():
        parameter.normal_(0, 0.1)
    model.save_pretrained(tmp_path)
    assert torch.equal(OverWords.from_pretrained(tmp_path).eval()(**inputs), model(**inputs))


def test_an_encoder_stands_inside_a_model_of_transformers(inputs: dict[str, Tensor], tmp_path: Path) -> None:
    class AllTheirs(OfTheirs):
        encoder_class = transformers.BertModel

    config = BertConfig(**SHAPE)
    model = AllTheirs(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    other = OfTheirs.from_pretrained(tmp_path / "theirs").eval()
    torch.testing.assert_close(other(**inputs), model(**inputs), rtol=1e-5, atol=1e-5)
    other.save_pretrained(tmp_path / "ours")
    again = AllTheirs.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again(**inputs), model(**inputs))

    class Loaded(OfTheirs):
        encoder_class = staticmethod(lambda _: models.BertModel.from_pretrained(tmp_path / "ours"))

    assert torch.equal(Loaded(config).bert.pooler.dense.weight, model.bert.pooler.dense.weight)
    torch.testing.assert_close(Loaded(config).eval().bert(**inputs)[1], model.bert(**inputs)[1], rtol=1e-5, atol=1e-5)
    fresh = OfTheirs(config)
    fresh(**inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in fresh.parameters())


def test_a_head_of_the_same_classes_goes_on_and_one_of_others_is_new(config: BertConfig, tmp_path: Path) -> None:
    model = models.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    kind = models.BertForSequenceClassification
    assert torch.equal(kind.from_pretrained(tmp_path).classifier.weight, model.classifier.weight)
    names = {"id2label": {0: "нет", 1: "да"}, "label2id": {"нет": 0, "да": 1}}
    assert not torch.equal(kind.from_pretrained(tmp_path, **names).classifier.weight, model.classifier.weight)
    assert kind.from_pretrained(tmp_path, num_labels=7).classifier.weight.shape == (7, 24)
    assert "drawn at random" in models.BertModel(config).says()
    assert models.BertModel.from_pretrained(tmp_path).says().startswith("Encoder: 37 of 37 tensors loaded from")


def test_a_head_that_told_something_else_of_pairs_is_new(config: BertConfig, tmp_path: Path) -> None:
    config.pair_objective = "ssp"
    source = transformers.BertForPreTraining(config)
    source.save_pretrained(tmp_path)
    model = models.BertForPreTraining.from_pretrained(tmp_path)
    assert "Heads: mlm (loaded), nsp (2 of 4 tensors loaded, the rest new)." in model.says()
    assert model.config.pair_objective == "nsp"


class Weighed(models.BertForSequenceClassification):
    """A class of one's own as transformers' are written, which takes a config."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.weights = nn.Parameter(torch.rand(config.num_labels))
        self.norm = nn.BatchNorm1d(config.num_labels)
        self.register_buffer("seen", torch.zeros(3, dtype=torch.long))

    def forward(self, input_ids: Tensor, attention_mask: Any = None, labels: Any = None, **more: Any) -> Any:
        output = super().forward(input_ids, attention_mask, labels=labels, **more)
        output.logits = self.norm(output.logits * self.weights)
        return output


def test_a_class_of_ones_own_is_loaded(config: BertConfig, inputs: dict[str, Tensor], tmp_path: Path) -> None:
    model = Weighed(config).train()
    model(**inputs)
    model.seen += 2**24 + 1
    model.eval().save_pretrained(tmp_path)
    again = Weighed.from_pretrained(tmp_path)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert torch.equal(again.seen, model.seen)
    assert again.norm.num_batches_tracked == 1
    assert transformers.BertForSequenceClassification.from_pretrained(tmp_path).bert is not None
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "theirs")
    assert Weighed.from_pretrained(tmp_path / "theirs", num_labels=3).weights.shape == (3,)


def test_from_scratch_is_said_to_be(config: BertConfig) -> None:
    assert "drawn at random" in models.BertForMaskedLM(config).says()
    assert models.BertForMaskedLM(config).provenance.kind == "pretraining from scratch"


def test_a_last_layer_of_ones_own(config: BertConfig, inputs: dict[str, Tensor], tmp_path: Path) -> None:
    model = models.BertForSequenceClassification(config).eval()
    model.classifier = nn.Linear(24, 6)
    logits = model(**inputs, labels=torch.tensor([5, 0, 1, 2])).logits
    assert logits.shape == (4, 6)
    model.save_pretrained(tmp_path)
    other = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(other(**inputs).logits, logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(AttributeError, match="'query' cannot be replaced by a Identity"):
        model.bert.encoder.layer[0].attention.self.query = nn.Identity()
    with pytest.raises(AttributeError, match="only a single layer of the head"):
        model.bert = models.BertModel(config)
    with pytest.raises(AttributeError, match=r"dropout would be read by nothing: model\.encoder\.set_dropout"):
        model.dropout = nn.Dropout(0.9)
    own = Weighed(config)  # whose own forward may read it
    own.dropout = nn.Dropout(0.9)
    assert own.dropout.p == 0.9


@pytest.mark.parametrize("kind", [models.BertForMaskedLM, models.ModernBertForMaskedLM])
def test_a_vocabulary_grows_and_shrinks(kind: Any, inputs: dict[str, Tensor], tmp_path: Path) -> None:
    ids = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    model = kind(BertConfig(**SHAPE) if kind is models.BertForMaskedLM else ModernBertConfig(**SHAPE | ids)).eval()
    before = model(**inputs).logits
    words = model.resize_token_embeddings(51, pad_to_multiple_of=8)
    assert (words.num_embeddings, model.config.vocab_size, model.vocab_size) == (56, 56, 56)
    after = model(**inputs).logits
    assert after.shape == (4, 9, 56)
    torch.testing.assert_close(after[..., :50], before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(words.weight[55], words.weight[:50].mean(0))
    model(input_ids=torch.tensor([[55, 3]]), labels=torch.tensor([[54, -100]])).loss.backward()
    model.save_pretrained(tmp_path)
    other = getattr(transformers, kind.__name__).from_pretrained(tmp_path)
    torch.testing.assert_close(
        other(**inputs).logits * inputs["attention_mask"][..., None], after, rtol=1e-5, atol=1e-5
    )
    assert model.resize_token_embeddings(50).weight.shape == (50, 24)
    with pytest.raises(ValueError, match=r"pad_to_multiple_of is a whole number, not 1\.3"):
        model.resize_token_embeddings(50, pad_to_multiple_of=1.3)
    torch.testing.assert_close(model(**inputs).logits, before, rtol=1e-5, atol=1e-5)
    model.set_input_embeddings(nn.Embedding(60, 24))
    assert model(**inputs).logits.shape == (4, 9, 60)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForPreTraining", "ModernBertForMaskedLM"])
def test_the_layer_over_the_vocabulary_is_found_as_in_transformers(name: str) -> None:
    theirs = getattr(transformers, name)
    theirs = theirs(theirs.config_class(**SHAPE, pad_token_id=0))
    model = getattr(models, name)(theirs.config)
    layer, want = model.get_output_embeddings(), theirs.get_output_embeddings()
    assert layer.weight is model.get_input_embeddings().weight
    assert layer.bias.shape == want.bias.shape
    assert dict(layer.named_parameters()).keys() == dict(want.named_parameters()).keys()
    assert models.BertForSequenceClassification(BertConfig(**SHAPE)).get_output_embeddings() is None


def test_a_base_does_not_leave_its_head_behind(config: BertConfig, inputs: dict[str, Tensor]) -> None:
    model = models.BertForMaskedLM(config)
    for resized in (model, deepcopy(model)):
        with pytest.raises(errors.RecipeError, match="call resize_token_embeddings of the BertForMaskedLM"):
            resized.bert.resize_token_embeddings(60)
        assert resized.bert.resize_token_embeddings(50).num_embeddings == 50
        resized.resize_token_embeddings(60)
        assert resized(**inputs).logits.shape == (4, 9, 60)
    classifier = models.BertForSequenceClassification(config)
    classifier.bert.resize_token_embeddings(60)
    assert classifier(input_ids=torch.tensor([[59]])).logits.shape == (1, 2)
    assert classifier.config.vocab_size == 60


def test_logits_are_computed_when_they_are_looked_at(config: BertConfig, inputs: dict[str, Tensor]) -> None:
    model = models.BertForPreTraining(config)
    output = model(**inputs, labels=masked(inputs), next_sentence_label=torch.tensor([0, 1, 0, 1]))
    assert isinstance(OrderedDict.__getitem__(output, "prediction_logits"), Later)
    assert output["loss"] is output.loss is output[0]
    assert isinstance(OrderedDict.__getitem__(output, "prediction_logits"), Later)
    for look in (
        lambda out: out.logits,
        lambda out: out["logits"],
        lambda out: out.get("logits"),
        lambda out: out[1],
        lambda out: out[1:][0],
        lambda out: out.to_tuple()[-1],
        lambda out: dict(out.items())["logits"],
        lambda out: [*out.values()][1],
    ):
        late = models.BertForMaskedLM(config)(**inputs, labels=masked(inputs))
        logits = look(late)
        assert logits.shape == (4, 9, 50)
        assert logits.requires_grad
        assert late.logits is logits
    with torch.no_grad():
        late = models.BertForMaskedLM(config)(**inputs)
    assert not late.logits.requires_grad
    # What is dropped is dropped once: the loss is that of the logits.
    output = models.BertForMaskedLM(config).train()(**inputs, labels=masked(inputs))
    kept = torch.where(inputs["attention_mask"] == 1, masked(inputs), -100)
    torch.testing.assert_close(nn.functional.cross_entropy(output.logits.flatten(0, 1), kept.flatten()), output.loss)


@pytest.mark.parametrize("name", ["MaskedLM", "PreTraining"])
def test_logits_are_those_of_the_forward_pass_or_refused(
    name: str, config: BertConfig, inputs: dict[str, Tensor]
) -> None:
    model = getattr(models, f"BertFor{name}")(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    first, second = (model(**inputs, labels=masked(inputs)) for _ in range(2))
    first.loss.backward()
    before = first[1].detach().clone()
    optimizer.step()
    assert torch.equal(first[1], before)
    with pytest.raises(errors.RunError, match=r"read output\.logits before a step") as caught:
        _ = second[1]
    assert "\n" not in str(caught.value)
    assert second.loss is second[0]
    with torch.inference_mode():
        assert type(model)(config)(**inputs)[0].shape == (4, 9, 50)


@pytest.mark.parametrize("name", ["SequenceClassification", "TokenClassification", "MultipleChoice"])
def test_the_loss_is_that_of_the_logits_under_dropout(name: str, config: BertConfig, inputs: dict[str, Tensor]) -> None:
    model = getattr(models, f"BertFor{name}")(config).train()
    labels = torch.randint(2, (4, 9)) if name.startswith("Token") else torch.tensor([0, 1, 1, 0])
    if name == "MultipleChoice":
        inputs, labels = {key: x.view(2, 2, 9) for key, x in inputs.items()}, torch.tensor([0, 1])
    if name.startswith("Token"):
        labels[inputs["attention_mask"] == 0] = -100
    output = model(**inputs, labels=labels)
    want = nn.functional.cross_entropy(output.logits.view(-1, 2), labels.flatten())
    torch.testing.assert_close(output.loss, want, rtol=1e-5, atol=0)


def test_gradient_checkpointing_changes_no_gradient(config: BertConfig, inputs: dict[str, Tensor]) -> None:
    model = models.BertForMaskedLM(config).train()
    found = []
    for switch in (model.activation_checkpointing_disable, model.activation_checkpointing_enable):
        switch()
        model.zero_grad()
        torch.manual_seed(7)
        deepcopy(model)(**inputs, labels=masked(inputs))
        model(**inputs, labels=masked(inputs)).loss.backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert model.is_activation_checkpointing
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_copy_stands_alone_and_casting_reaches_the_encoder(config: BertConfig, inputs: dict[str, Tensor]) -> None:
    model = models.BertForMaskedLM(config).eval()
    copy = deepcopy(model)
    with torch.no_grad():
        copy.bert.embeddings.word_embeddings.weight.zero_()
    assert not copy.encoder.word_embeddings.weight.any()
    assert model.encoder.word_embeddings.weight.any()
    assert model.to(torch.bfloat16).encoder.word_embeddings.weight.dtype == torch.bfloat16 == model.dtype
    assert model(**inputs).logits.dtype == torch.bfloat16


def rows(inputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    whole = inputs | {"labels": masked(inputs)}
    return [{key: x[row] for key, x in whole.items()} for row in range(4)]


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    return TrainingArguments(
        str(folder), max_steps=2, report_to=[], disable_tqdm=True, use_cpu=True, learning_rate=1e-2, **more
    )


def test_they_train_under_transformers_and_no_split_changes_what_comes_out(
    config: BertConfig, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    start = models.BertForMaskedLM(config)
    found = []
    for size, steps in ((4, 1), (1, 4)):
        args = arguments(
            tmp_path / str(size),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            load_best_model_at_end=True,
        )
        data = rows(inputs)
        trainer = transformers.Trainer(deepcopy(start), args, train_dataset=data, eval_dataset=data)  # type: ignore[arg-type]
        trainer.train()
        trainer.save_model(str(tmp_path / f"{size}-saved"))
        found.append(trainer.model.state_dict())  # type: ignore[union-attr]
        assert trainer.predict(data).predictions.shape == (4, 9, 50)  # type: ignore[arg-type, union-attr]
    assert not torch.equal(found[0]["cls.predictions.bias"], start.state_dict()["cls.predictions.bias"])
    for key, one in found[0].items():
        torch.testing.assert_close(one, found[1][key], rtol=0, atol=2e-5)
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "4-saved").state_dict()
    assert all(torch.equal(x, again[key]) for key, x in found[0].items())


def test_buffers_of_ones_own_class_come_back_with_the_best_checkpoint(config: BertConfig, tmp_path: Path) -> None:
    data = [{"input_ids": torch.randint(1, 50, (6,)), "labels": row % 2} for row in range(8)]
    arguments = bertwright.TrainingArguments(
        str(tmp_path), max_steps=2, eval_steps=1, save_steps=1, eval_strategy="steps", save_strategy="steps",
        load_best_model_at_end=True, report_to=[], disable_tqdm=True, use_cpu=True, learning_rate=0.1,
    )  # fmt: skip
    model = Weighed(config)
    trainer = bertwright.Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    trainer.train()
    best = trainer.state.best_model_checkpoint
    assert best is not None
    again = Weighed.from_pretrained(best)
    assert again.norm.num_batches_tracked == model.norm.num_batches_tracked == trainer.state.best_global_step
    assert torch.equal(again.norm.running_mean, model.norm.running_mean)


def test_their_pipelines_take_them(config: BertConfig, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "boat", "лодка", "вышла", "船"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = bertwright.BertTokenizerFast.from_pretrained(str(tmp_path))
    fill = transformers.pipeline("fill-mask", model=models.BertForMaskedLM(config), tokenizer=tokenizer, device="cpu")
    assert len(fill("лодка [MASK] the 船", top_k=3)) == 3


def test_pairs_of_the_collator_train_a_next_sentence_model(config: BertConfig, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "лодка", "вышла", "船", "boat", "sails"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    text = "лодка вышла\nboat sails\n船 вышла\n\nboat вышла\nлодка sails\nboat 船\n"
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    tokenizer = bertwright.BertTokenizerFast.from_pretrained(str(tmp_path))
    data = bertwright.TextDatasetForNextSentencePrediction(tokenizer, str(tmp_path / "text.txt"), 16)
    collator = bertwright.DataCollatorForNextSentencePrediction(tokenizer, mlm=False)
    model = models.BertForNextSentencePrediction(config)
    before = model.cls.seq_relationship.weight.detach().clone()
    trainer = bertwright.Trainer(model, arguments(tmp_path / "run"), data_collator=collator, train_dataset=data)
    assert trainer.train().training_loss > 0
    assert trainer.evaluate(data)["eval_loss"] > 0
    assert not torch.equal(model.cls.seq_relationship.weight, before)
    batch = collator([data[0], data[1]])
    labels = batch["next_sentence_label"]
    output = model.eval()(**batch)
    want = nn.functional.cross_entropy(output.logits, labels)
    torch.testing.assert_close(output.loss, want, rtol=1e-5, atol=0)
    assert model.counts(**batch) == {"nsp": 2}
    assert "next_sentence_label" in batch
    with pytest.raises(errors.InputError, match="next_sentence_label: 7 at row 0; a pair is"):
        model(**{**batch, "next_sentence_label": labels * 0 + 7})


def test_arguments_that_ask_for_nothing_are_taken(config: BertConfig, tmp_path: Path) -> None:
    models.BertForMaskedLM(config).save_pretrained(tmp_path)
    nothing = dict.fromkeys(("variant", "cache_dir", "use_auth_token", "revision", "token", "proxies"))
    nothing |= {"from_tf": False, "resume_download": True, "weights_only": True, "local_files_only": True}
    for trust_remote_code in (False, True):
        model = models.BertModel.from_pretrained(
            tmp_path, add_pooling_layer=False, trust_remote_code=trust_remote_code, **nothing
        )
        assert model.pooler is None
        assert {name for name, _ in model.named_parameters()} == model.origin.loaded


def test_how_a_model_is_had_from_the_hub(config: BertConfig, tmp_path: Path) -> None:
    """From a cache of the Hub's own layout, with two revisions of which one is the main one."""
    home = tmp_path / "models--me--tiny"
    for revision, name in (("main", "a" * 40), ("old", "b" * 40)):
        models.BertForMaskedLM(config).save_pretrained(home / "snapshots" / name)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(name)
    kind, found = models.BertForMaskedLM, []
    for asked in ({}, {"revision": "old"}):
        model = kind.from_pretrained("me/tiny", cache_dir=tmp_path, local_files_only=True, **asked)
        found.append(model.get_input_embeddings().weight)
    for name, weight in zip(("a" * 40, "b" * 40), found, strict=True):
        want = transformers.BertForMaskedLM.from_pretrained(home / "snapshots" / name).get_input_embeddings().weight
        assert torch.equal(weight, want)
    with pytest.raises(errors.CheckpointError, match="not to be had from the Hub"):
        kind.from_pretrained("me/tiny", cache_dir=tmp_path / "none", local_files_only=True)


@pytest.mark.parametrize("said", ["auto", None, "bfloat16", torch.float16])
@pytest.mark.parametrize("written", [True, False])
def test_the_config_says_which_numbers_the_weights_are(
    said: Any, written: bool, config: BertConfig, tmp_path: Path
) -> None:
    transformers.BertForMaskedLM(config).to(torch.float16).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    if not written:
        fields.pop("dtype")
        (tmp_path / "config.json").write_text(json.dumps(fields))
    mine = models.BertForMaskedLM.from_pretrained(tmp_path, dtype=said)
    assert mine.config.dtype == mine.dtype == next(mine.encoder.parameters()).dtype
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path, dtype=said or torch.float32)
    assert mine.dtype == theirs.dtype
    copied = models.BertForSequenceClassification.from_model(mine)
    assert copied.dtype == copied.config.dtype == mine.dtype


def test_a_model_is_put_on_one_device(config: BertConfig, tmp_path: Path) -> None:
    models.BertForMaskedLM(config).save_pretrained(tmp_path)
    for one in ("meta", torch.device("meta"), {"": "meta"}):
        model = models.BertForMaskedLM.from_pretrained(tmp_path, device_map=one)
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
        assert next(model.encoder.parameters()).is_meta
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    model = models.BertForMaskedLM.from_pretrained(tmp_path, device_map="auto")
    assert model.device.type == (accelerator.type if accelerator else "cpu")


class TestBadInput:
    def refuses(self, what: str, kind: type[Exception], call: Any, *args: Any, **named: Any) -> None:
        with pytest.raises(kind, match=what) as caught:
            call(*args, **named)
        assert "\n" not in str(caught.value)

    def test_labels_out_of_range(self, config: BertConfig, inputs: dict[str, Tensor]) -> None:
        config.num_labels = 4
        model = models.BertForSequenceClassification(config)
        labels = torch.tensor([0, 1, 3, 7])
        for call in (model, model.losses, model.counts):
            self.refuses(
                "labels: 7 at row 3; the model has 4 classes", errors.InputError, call, **inputs, labels=labels
            )
        tags = torch.zeros(4, 9).long()
        tags[2, 3], tags[3, 8] = -1, 9  # the second stands at padding
        call = models.BertForTokenClassification(config)
        self.refuses("labels: -1 at row 2 and column 3; the model", errors.InputError, call, **inputs, labels=tags)
        words = models.BertForMaskedLM(config)
        labels = inputs["input_ids"] + 30
        self.refuses(r"labels: \d+ at row 0 and .* has 50 tokens", errors.InputError, words, **inputs, labels=labels)
        pairs = models.BertForNextSentencePrediction(config)
        self.refuses(
            "labels: 7 at row 3; a pair is", errors.InputError, pairs, **inputs, labels=torch.tensor([0, 1, 1, 7])
        )

    def test_labels_of_another_shape_or_none(self, config: BertConfig, inputs: dict[str, Tensor]) -> None:
        ones = torch.ones(3).long()
        model = models.BertForSequenceClassification(config)
        self.refuses(
            r"labels is \[3\] of torch.int64, and .* takes whole numbers \[4\]",
            errors.InputError,
            model,
            **inputs,
            labels=ones,
        )
        config.num_labels = 3
        model = models.BertForSequenceClassification(config)
        halves = torch.full((4,), 0.5)
        self.refuses(r"labels is \[4\] of .* takes numbers \[4, 3\]", errors.InputError, model, **inputs, labels=halves)
        assert model(**inputs, labels=torch.tensor([0, 2, 1, 1])).loss > 0
        self.refuses("of torch.float32, and single_label", errors.InputError, model, **inputs, labels=halves)
        words = models.BertForMaskedLM(config)
        self.refuses(r"labels is \[3\], and input_ids \[4, 9\]", errors.InputError, words, **inputs, labels=ones)
        self.refuses("has no loss without labels: labels", errors.InputError, words.losses, **inputs)
        spans = models.BertForQuestionAnswering(config)
        self.refuses("start_positions without the other", errors.InputError, spans, **inputs, start_positions=ones)
        places = {"start_positions": torch.tensor([0, 1, 2, 3]), "end_positions": torch.tensor([1, 1, 2, 3])}
        self.refuses("start_positions: 3 at row 3; that column is", errors.InputError, spans, **inputs, **places)

    def test_inputs(self, config: BertConfig, inputs: dict[str, Tensor]) -> None:
        model, ids, refuses = models.BertForMaskedLM(config), inputs["input_ids"], self.refuses
        refuses("forward takes no inputs_embeds; besides", TypeError, model, inputs_embeds=torch.ones(1, 2, 24))
        refuses("takes no columns; it takes input_ids", errors.InputError, model.losses, **inputs, columns=ids)
        refuses("input_ids is NoneType; expected", errors.InputError, model)
        refuses(r"input_ids is \[9\]; expected are ids", errors.InputError, model, ids[0])
        refuses(r"attention_mask is \[2, 9\], and", errors.InputError, model, ids, inputs["attention_mask"][:2])
        refuses(
            "row 0 has no token",
            errors.InputError,
            model,
            ids,
            torch.zeros_like(ids).index_fill(0, ids[1:2, 0] * 0 + 1, 1),
        )
        refuses("input_ids: 57 at row 0 and column 1; .* 50 tokens", errors.InputError, model, torch.tensor([[1, 57]]))
        refuses("token_type_ids: 2 at row 0", errors.InputError, model, ids, None, torch.full_like(ids, 2))
        refuses("rows of 21 columns; the model has 20", errors.InputError, model, torch.ones(1, 21).long())
        refuses("position_ids: 20 at row 0", errors.InputError, model, ids, position_ids=torch.full((1, 9), 20))
        choice = models.BertForMultipleChoice(config)
        refuses(r"input_ids is \[4, 9\]; expected are ids \[questions", errors.InputError, choice, ids)
        modern = models.ModernBertModel(ModernBertConfig(**SHAPE, pad_token_id=0))
        holes = (torch.arange(9) % 2).expand(4, -1)
        refuses("tokens of a row have to stand side by side", errors.InputError, modern, ids, holes)

    def test_checkpoints_and_configs(self, config: BertConfig, tmp_path: Path) -> None:
        shape = SHAPE | {"embedding_size": 24}
        transformers.ElectraForPreTraining(ElectraConfig(**shape)).save_pretrained(tmp_path)
        kind, refuses = models.BertForMaskedLM, self.refuses
        refuses(
            "a ElectraForPreTraining .'electra'.; BertForMaskedLM takes 'bert'; try ElectraForMaskedLM",
            errors.CheckpointError,
            kind.from_pretrained,
            tmp_path,
        )
        refuses("ElectraConfig .'electra'.; BertForMaskedLM takes", errors.RecipeError, kind, ElectraConfig(**shape))
        refuses("takes a transformers config, not a dict", errors.RecipeError, kind, {})
        refuses("no such folder", errors.CheckpointError, kind.from_pretrained, tmp_path / "nothing")
        models.BertModel(config).save_pretrained(tmp_path)
        refuses("'num_lables' is not a field", errors.RecipeError, kind.from_pretrained, tmp_path, num_lables=3)
        refuses("which has no revisions", errors.CheckpointError, kind.from_pretrained, tmp_path, revision="v2")
        refuses("takes no subfolder: it reads", errors.RecipeError, kind.from_pretrained, tmp_path, subfolder="a")
        for parts in ({"bert": 0, "cls": 1}, "balanced", {"": "balanced"}):
            refuses("a model stays whole", errors.RecipeError, kind.from_pretrained, tmp_path, device_map=parts)
        refuses("not Linear", errors.RecipeError, kind.from_model, nn.Linear(1, 1))
        refuses("at least 1", errors.RecipeError, kind(config).resize_token_embeddings, 0)
