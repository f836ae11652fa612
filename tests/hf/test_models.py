"""transformers' names beside transformers' own classes: outputs, losses, gradients, files."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, ModernBertConfig, PretrainedConfig, PreTrainedModel

from bertwright.errors import CheckpointError
from bertwright.hf import models
from bertwright.hf.models.face import Face
from bertwright.hf.models.heads import Head

BERT = (
    "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction",
    "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering", "BertForMultipleChoice",
)  # fmt: skip
MODERN = (
    "ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
)  # fmt: skip
HEADS = tuple(name for name in BERT + MODERN if not name.endswith("Model"))
LENGTHS = (11, 4, 1, 9)
WIDTH, VOCABULARY, CLASSES = 11, 50, 5
MEAN = {"classifier_pooling": "mean"}
LABELS = ("labels", "next_sentence_label", "start_positions", "end_positions")


def config_of(name: str, **more: Any) -> PretrainedConfig:
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "initializer_range": 0.3,
        "num_labels": 2 if name.endswith("QuestionAnswering") else CLASSES,
    }
    if name.startswith("Modern"):
        ids = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        return ModernBertConfig(**shape | ids | {"max_position_embeddings": 64, "local_attention": 6} | more)
    return BertConfig(**shape | {"max_position_embeddings": 30} | more)


def theirs(name: str, **more: Any) -> PreTrainedModel:
    torch.manual_seed(1)
    model = getattr(transformers, name)._from_config(config_of(name, **more), attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    return model


def ours(name: str, folder: Path, model: PreTrainedModel | None = None, **more: Any) -> Any:
    (model or theirs(name, **more)).save_pretrained(folder)
    return getattr(models, name).from_pretrained(folder)


def inputs_of(name: str, *, left: bool = False, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Tensor]:
    torch.manual_seed(2)
    columns = torch.arange(WIDTH).expand(len(lengths), -1)
    long = torch.tensor(lengths)[:, None]
    mask = ((columns >= WIDTH - long) if left else (columns < long)).long()
    inputs = {"input_ids": torch.randint(1, VOCABULARY, mask.shape), "attention_mask": mask}
    if name.startswith("Bert"):
        inputs["token_type_ids"] = (columns > 5).long()
    if name.endswith("MultipleChoice"):
        inputs = {key: x.view(2, 2, WIDTH) for key, x in inputs.items()}
    return inputs


def labels_of(name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(3)
    mask, rows = inputs["attention_mask"], len(inputs["input_ids"])
    if name.endswith("QuestionAnswering"):
        return {"start_positions": torch.randint(WIDTH, (rows,)), "end_positions": torch.randint(WIDTH, (rows,))}
    if name.endswith(("TokenClassification", "MaskedLM", "PreTraining")):
        classes = CLASSES if name.endswith("TokenClassification") else VOCABULARY
        tokens = torch.randint(classes, mask.shape)
        tokens[(mask == 0) | (torch.rand(mask.shape) < 0.4)] = -100
        pairs = {"next_sentence_label": torch.tensor([0, 1, 1, 0])} if name.endswith("PreTraining") else {}
        return {"labels": tokens, **pairs}
    classes = CLASSES if name.endswith("SequenceClassification") else 2
    return {"labels": torch.randint(classes, (rows,))}


def whole_rows(name: str) -> tuple[int, ...]:
    """Rows without padding for answers in a text, whose softmax there takes padding in."""
    return (WIDTH,) * 4 if name.endswith("QuestionAnswering") else LENGTHS


def compare(mine: Any, other: Any, mask: Tensor) -> int:
    """Everything that the other output holds, at tokens that are no padding; how much that was."""
    compared = 0
    for key, want in other.items():
        if key == "cross_attentions":
            continue
        got = mine[key]
        whole, expected = (torch.stack(got), torch.stack(want)) if isinstance(want, tuple) else (got[None], want[None])
        assert whole.shape == expected.shape
        if key == "attentions":
            rows = mask[None, :, None, :, None]
        elif whole.shape[1:3] == mask.shape:
            rows = mask.view(1, *mask.shape, *[1] * (whole.ndim - 3))
            assert not (whole * (rows == 0)).any()
        else:
            rows = torch.ones(())
        torch.testing.assert_close(whole * rows, expected * rows, rtol=1e-5, atol=1e-5)
        compared += 1
    return compared


@pytest.mark.parametrize("name", BERT + MODERN)
@torch.no_grad()
def test_every_output_is_as_theirs(name: str, tmp_path: Path) -> None:
    other, inputs = theirs(name), inputs_of(name)
    model = ours(name, tmp_path, other)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    mine, want = model(**inputs, **wanted), other(**inputs, **wanted)
    assert isinstance(mine, type(want))
    assert compare(mine, want, inputs["attention_mask"].view(-1, WIDTH)) >= 3
    assert len(model(**inputs).to_tuple()) == len(other(**inputs).to_tuple())
    assert isinstance(model(**inputs, return_dict=False), tuple)


@pytest.mark.parametrize("more", [{}, {"output_hidden_states": True}], ids=["alone", "with states"])
@torch.no_grad()
def test_a_classifier_may_read_the_mean(more: dict[str, bool], tmp_path: Path) -> None:
    name = "ModernBertForSequenceClassification"
    other, inputs = theirs(name, **MEAN), inputs_of(name)
    model = ours(name, tmp_path, other)
    assert compare(model(**inputs, **more), other(**inputs, **more), inputs["attention_mask"])
    model.save_pretrained(tmp_path / "again")
    again = getattr(transformers, name).from_pretrained(tmp_path / "again")
    assert compare(model(**inputs), again(**inputs), inputs["attention_mask"])


@pytest.mark.parametrize("name", BERT + MODERN)
def test_arguments_stand_in_their_order_and_none_asks_for_nothing(name: str, tmp_path: Path) -> None:
    other = theirs(name)
    mine, inputs = ours(name, tmp_path, other), inputs_of(name, lengths=(WIDTH,) * 4)
    labels = {} if name.endswith("Model") else labels_of(name, inputs)
    order, given = list(inspect.signature(other.forward).parameters), inputs | labels
    last = max(order.index(argument) for argument in given)
    want, got = (model(*(given.get(argument) for argument in order[: last + 1])) for model in (other, mine))
    torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=1e-4)
    older = ("head_mask", "past_key_values", "encoder_hidden_states", "inputs_embeds")
    assert torch.equal(mine(**inputs, **labels, **dict.fromkeys(older), use_cache=False)[0], got[0])
    with pytest.raises(TypeError, match="takes no inputs_embeds"):
        mine(inputs_embeds=torch.ones(1, 2, 24))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForTokenClassification", "ModernBertForMaskedLM"])
@torch.no_grad()
def test_padding_may_stand_on_the_left_and_positions_be_given(name: str, tmp_path: Path) -> None:
    other, inputs = theirs(name), inputs_of(name, left=True)
    model, mask = ours(name, tmp_path, other), inputs["attention_mask"]
    assert compare(model(**inputs), other(**inputs), mask)
    if name.startswith("Bert"):
        inputs["position_ids"] = (torch.arange(WIDTH) * 2).expand(1, -1)
        inputs["attention_mask"] = mask = torch.rand(mask.shape) < 0.7
        assert compare(model(**inputs), other(**inputs), mask)


@pytest.mark.parametrize("name", HEADS)
def test_loss_and_gradients_are_as_theirs(name: str, tmp_path: Path) -> None:
    other, inputs = theirs(name), inputs_of(name, lengths=whole_rows(name))
    model, labels = ours(name, tmp_path, other), labels_of(name, inputs)
    mine, want = model(**inputs, **labels), other(**inputs, **labels)
    mine.loss.backward()
    want.loss.backward()
    torch.testing.assert_close(mine.loss, want.loss, rtol=1e-5, atol=0)
    gradients = {key: parameter.grad for key, parameter in other.named_parameters()}
    own = dict(model.named_parameters())
    assert own.keys() == gradients.keys()
    for key, parameter in own.items():
        got, expected = parameter.grad, gradients[key]
        if expected is None:
            assert got is None or not got.any()
            continue
        assert got is not None, key
        if key.endswith(("word_embeddings.weight", "tok_embeddings.weight")):
            got, expected = got[1:], expected[1:]  # there, the row of padding gets the decoder's part only
        assert (got - expected).norm() <= 1e-4 * expected.norm() + 1e-6, key


@pytest.mark.parametrize("name", HEADS)
def test_losses_and_counts_add_over_a_split_batch(name: str, tmp_path: Path) -> None:
    model, inputs = ours(name, tmp_path), inputs_of(name)
    labels = labels_of(name, inputs)
    if name.endswith("QuestionAnswering"):
        labels = {"start_positions": torch.tensor([3, 0, 0, 2]), "end_positions": torch.tensor([9, 3, -100, 11])}
    parts = [{key: x[half] for key, x in (inputs | labels).items()} for half in (slice(0, 1), slice(1, None))]
    whole, counts = model.losses(**inputs, **labels), model.counts(**inputs, **labels)
    each = [model.losses(**part) for part in parts]
    assert counts == {key: sum(model.counts(**part)[key] for part in parts) for key in counts}
    assert counts.keys() == whole.totals.keys()
    for key, total in whole.totals.items():
        torch.testing.assert_close(sum(one.totals[key] for one in each), total, rtol=1e-5, atol=1e-5)
    mean = sum(total / counts[key] for key, total in whole.totals.items())
    torch.testing.assert_close(model(**inputs, **labels).loss, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
def test_losses_do_not_depend_on_padding(name: str, tmp_path: Path) -> None:
    model, inputs = ours(name, tmp_path), inputs_of(name)
    labels = labels_of(name, inputs)
    if name.endswith("QuestionAnswering"):
        labels = {"start_positions": torch.tensor([3, 0, 0, 2]), "end_positions": torch.tensor([9, 3, 0, 8])}
    more = {key: nn.functional.pad(x, (0, 3)) for key, x in inputs.items()}
    wide = {key: nn.functional.pad(x, (0, 3), value=7) if x.ndim > 1 else x for key, x in labels.items()}
    assert model.counts(**inputs, **labels) == model.counts(**more, **wide)
    torch.testing.assert_close(model(**inputs, **labels).loss, model(**more, **wide).loss, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("number", "problem", "labels"),
    [
        (1, None, torch.tensor([0.5, -2.0, 3.0, 1.0])),
        (1, "regression", torch.tensor([[0.5], [-2.0], [3.0], [1.0]])),
        (3, "regression", torch.arange(12.0).view(4, 3)),
        (3, None, torch.tensor([0, 2, 1, 1])),
        (3, "single_label_classification", torch.tensor([[0], [2], [-100], [1]])),
        (3, None, torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]])),
        (3, "multi_label_classification", torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]])),
    ],
)
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("BertForSequenceClassification", {}),
        ("ModernBertForSequenceClassification", {}),
        ("ModernBertForSequenceClassification", MEAN),
    ],
)
def test_every_type_of_problem(
    name: str, more: dict[str, str], number: int, problem: str | None, labels: Tensor, tmp_path: Path
) -> None:
    other, inputs = theirs(name, num_labels=number, problem_type=problem, **more), inputs_of(name)
    model = ours(name, tmp_path, other)
    mine, want = model(**inputs, labels=labels), other(**inputs, labels=labels)
    torch.testing.assert_close(mine.loss, want.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(mine.logits, want.logits, rtol=1e-5, atol=1e-5)
    assert model.config.problem_type == other.config.problem_type
    losses, counts = model.losses(**inputs, labels=labels), model.counts(**inputs, labels=labels)
    ((key, total),) = losses.totals.items()
    torch.testing.assert_close(total / counts[key], want.loss, rtol=1e-5, atol=0)
    items = int(labels.ne(-100).sum())
    torch.testing.assert_close(model(**inputs, labels=labels, num_items_in_batch=items).loss, want.loss)


@pytest.mark.parametrize("name", BERT + MODERN)
def test_what_is_saved_loads_whole_in_transformers_and_here(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = getattr(models, name)(config_of(name))
    model.eval().save_pretrained(tmp_path)
    other, info = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if value} == {}
    assert other.config.architectures == [name]
    assert model.state_dict().keys() == other.state_dict().keys()
    again, inputs = type(model).from_pretrained(tmp_path), inputs_of(name)
    with torch.no_grad():
        assert compare(model(**inputs), other(**inputs), inputs["attention_mask"].view(-1, WIDTH))
        torch.testing.assert_close(model(**inputs)[0], again(**inputs)[0], rtol=0, atol=0)
    assert again.origin.loaded == {key for key, _ in model.named_parameters()}
    again.load_state_dict(other.state_dict())
    assert model.num_parameters() == other.num_parameters()


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForPreTraining", "ModernBertForMaskedLM"])
def test_a_config_that_unties_is_written_as_tied(name: str, tmp_path: Path) -> None:
    config = config_of(name, tie_word_embeddings=False)
    torch.manual_seed(1)
    mine = getattr(models, name)(config).eval()
    mine.save_pretrained(tmp_path)
    other, said = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"]
    assert other.config.tie_word_embeddings
    assert mine.config.tie_word_embeddings
    assert not config.tie_word_embeddings
    inputs = inputs_of(name, lengths=(11, 11))
    torch.testing.assert_close(other(**inputs)[0], mine(**inputs)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loose", ["weight", "bias"])
def test_a_head_that_goes_its_own_way_is_refused(loose: str, tmp_path: Path) -> None:
    model = theirs("BertForMaskedLM", tie_word_embeddings=False)
    decoder, words = model.cls.predictions.decoder, model.bert.embeddings.word_embeddings
    with torch.no_grad():
        decoder.weight.copy_(words.weight)
        decoder.bias.copy_(model.cls.predictions.bias)
        mine = ours("BertForMaskedLM", tmp_path / "same", model)
        inputs = inputs_of("BertForMaskedLM", lengths=(11, 11))
        torch.testing.assert_close(mine(**inputs)[0], model(**inputs)[0], rtol=1e-5, atol=1e-5)
        getattr(decoder, loose).add_(1)
    with pytest.raises(CheckpointError, match=rf"decoder\.{loose} differs from .*; only heads tied"):
        ours("BertForMaskedLM", tmp_path / "other", model)


def test_seeds_decide_what_is_drawn_and_the_base_shares_the_encoder() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(models.BertForPreTraining(config_of("Bert")).state_dict())
    assert all(torch.equal(x, drawn[1][key]) for key, x in drawn[0].items())
    assert not torch.equal(drawn[0]["bert.pooler.dense.weight"], drawn[2]["bert.pooler.dense.weight"])
    model = models.BertForPreTraining(config_of("Bert")).eval()
    inputs = inputs_of("Bert")
    whole = model(**inputs, output_hidden_states=True)
    below = model.bert(**inputs)
    torch.testing.assert_close(below.last_hidden_state, whole.hidden_states[-1])
    assert below.pooler_output.shape == (4, 24)
    assert model.bert.encoder.layer[0].attention.self.query is model.encoder.layers[0].query
    assert [p is q for p, q in zip(model.bert.encoder.parameters(), model.encoder.layers.parameters(), strict=True)]
    assert model.get_input_embeddings() is model.bert.embeddings.word_embeddings
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight


def test_dropout_follows_the_mode() -> None:
    model, inputs = models.BertForSequenceClassification(config_of("Bert")), inputs_of("Bert")
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    model.eval()
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)
    assert not model.encoder.training
    assert not model.native.head.training
    assert model.train().encoder.layers[0].dropout.training


def test_every_head_is_a_face_with_its_labels() -> None:
    found = {name: getattr(models, name) for name in vars(models) if name[0] in "BM"}
    assert found.keys() == {*BERT, *MODERN}
    for name, kind in found.items():
        assert issubclass(kind, Face)
        other = ["next_sentence_label"] if name == "BertForNextSentencePrediction" else []
        assert not issubclass(kind, Head) or transformers.utils.find_labels(kind) + other == [*kind.label_names], name
        assert transformers.utils.find_labels(kind) == transformers.utils.find_labels(getattr(transformers, name))
