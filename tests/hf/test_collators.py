from __future__ import annotations

import copy
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import KINDS, TEXTS, made
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BatchEncoding, PreTrainedTokenizerFast

from bertwright import (
    DataCollatorForLanguageModeling,
    DataCollatorForNextSentencePrediction,
    DataCollatorForSOP,
    DataCollatorForWholeWordMask,
)
from bertwright.errors import InputError, RecipeError

WORDPIECE = "wordpiece"


def random_ids(lengths: Sequence[int], seed: int = 0) -> list[dict[str, list[int]]]:
    """Examples of ordinary ids, each between [CLS] and [SEP]."""
    tokenizer, draw = made(WORDPIECE), np.random.default_rng(seed)
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
    return [
        {"input_ids": [tokenizer.cls_token_id, *draw.choice(ordinary, n).tolist(), tokenizer.sep_token_id]}
        for n in lengths
    ]


def pieces(text: str) -> list[str]:
    """The words of a text, found without any tokenizer: runs of letters; characters of scripts without spaces."""
    whole = re.findall(r"[A-Za-zА-Яа-яЁё0-9]+|[ァ-ヶー]+", text)
    marked: list[str] = []
    for character in text:
        if unicodedata.category(character)[0] == "M":
            marked[-1] += character
        else:
            marked.append(character)
    return whole + [piece for piece in marked if len(piece) > 1]


@pytest.mark.parametrize("script", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_words_are_hidden_whole_in_every_script(kind: str, script: str) -> None:
    tokenizer, text = made(kind), TEXTS[script]
    encoded = tokenizer(text, return_offsets_mapping=True)
    spans = [match.span() for piece in set(pieces(text)) for match in re.finditer(re.escape(piece), text)]
    spans = [
        span
        for span in spans
        if not any(other != span and other[0] <= span[0] and span[1] <= other[1] for other in spans)
    ]
    collator = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.3, seed=3)
    features = [{"input_ids": encoded["input_ids"]}] * 40
    asked = collator(features)["labels"].numpy() != -100
    several = 0
    for begin, end in spans:
        inside = [
            at
            for at, (first, last) in enumerate(encoded["offset_mapping"])
            if first < end and last > begin and last > first
        ]
        several += len(inside) > 1
        taken = asked[:, inside]
        assert (taken.all(1) | ~taken.any(1)).all(), text[begin:end]
    assert several or script == "zh"
    assert asked.any(1).all()
    assert not asked[:, np.isin(encoded["input_ids"], tokenizer.all_special_ids)].any()


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("script", TEXTS)
def test_the_share_that_is_asked_for_is_hidden(script: str, whole_words: bool) -> None:
    tokenizer = made(WORDPIECE)
    ids = tokenizer(TEXTS[script], add_special_tokens=False)["input_ids"]
    features = [{"input_ids": ids * (1 + number % 3)} for number in range(300)]
    batch = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=whole_words, seed=5)(features)
    ordinary = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], torch.tensor([tokenizer.unk_token_id]))
    assert float((batch["labels"] != -100).sum() / ordinary.sum()) == pytest.approx(0.15, abs=0.005)


def test_eight_of_ten_become_the_mask_one_another_token_and_one_stays() -> None:
    tokenizer, features = made(WORDPIECE), random_ids([100] * 600)
    batch = DataCollatorForLanguageModeling(tokenizer, seed=1)(features)
    asked = batch["labels"] != -100
    shown, right = batch["input_ids"][asked], batch["labels"][asked]
    masked = shown == tokenizer.mask_token_id
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=0.01)
    assert float((shown == right).float().mean()) == pytest.approx(0.1, abs=0.01)
    original = torch.tensor([feature["input_ids"] for feature in features])
    assert torch.equal(batch["input_ids"][~asked], original[~asked])
    assert torch.equal(right, original[asked])
    strangers = shown[~masked & (shown != right)]
    assert not torch.isin(strangers, torch.tensor(tokenizer.all_special_ids)).any()
    assert len(strangers.unique()) > 300


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    rate=st.floats(0.05, 0.9),
    multiple=st.sampled_from([None, 8, 16]),
    whole=st.booleans(),
    side=st.sampled_from(["left", "right"]),
)
def test_padding_and_special_tokens_are_never_touched(
    lengths: list[int], rate: float, multiple: int | None, whole: bool, side: str
) -> None:
    tokenizer = copy.deepcopy(made(WORDPIECE))
    tokenizer.padding_side = side
    features = random_ids(lengths)
    batch = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=rate, pad_to_multiple_of=multiple, whole_word_mask=whole, seed=2
    )(features)
    longest = max(lengths) + 2
    assert batch["input_ids"].shape == (len(lengths), longest + -longest % (multiple or 1))
    assert batch["attention_mask"].sum(1).tolist() == [n + 2 for n in lengths]
    for row, labels, real, feature in zip(*batch_columns(batch), features, strict=True):
        original = torch.tensor(feature["input_ids"])
        asked = labels[real] != -100
        assert torch.equal(row[real][~asked], original[~asked])
        assert torch.equal(labels[real][asked], original[asked])
        assert not asked[[0, -1]].any()
        assert (row[~real] == tokenizer.pad_token_id).all()
        assert (labels[~real] == -100).all()
        assert whole or asked.any()
        assert bool(real[0]) == (side == "right" or bool(real.all()))


def batch_columns(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return batch["input_ids"], batch["labels"], batch["attention_mask"].bool()


def test_marked_tokens_and_padding_that_came_along_are_left_alone() -> None:
    tokenizer = made(WORDPIECE)
    (feature,) = random_ids([30])
    ids = [*feature["input_ids"], tokenizer.pad_token_id, tokenizer.pad_token_id]
    marked = [*[1] * 20, *[0] * 14]
    attention = [*[1] * 32, 0, 0]
    features = [{"input_ids": ids, "special_tokens_mask": marked, "attention_mask": attention}] * 50
    for whole in (False, True):
        batch = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.8, whole_word_mask=whole, seed=1)(features)
        asked = batch["labels"] != -100
        assert "special_tokens_mask" not in batch
        assert not asked[:, :20].any()
        assert not asked[:, 31:].any()
        assert asked[:, 20:31].any(0).all()
        assert torch.equal(batch["input_ids"][:, :20], torch.tensor(ids)[None, :20].expand(50, -1))


def test_masks_are_a_function_of_the_seed_and_the_batch() -> None:
    tokenizer, features = made(WORDPIECE), random_ids([50, 40, 60, 20])
    collator = DataCollatorForLanguageModeling(tokenizer, seed=7)
    first = collator(features)
    collator(features[:2])
    again, other = collator(features), DataCollatorForLanguageModeling(tokenizer, seed=8)(features)
    reshuffled = collator(features[::-1])
    assert torch.equal(first["labels"], again["labels"])
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert not torch.equal(first["labels"], other["labels"])
    assert not torch.equal(first["labels"], reshuffled["labels"].flip(0))


def test_without_a_seed_torch_decides() -> None:
    collator, features = DataCollatorForLanguageModeling(made(WORDPIECE)), random_ids([50, 40])
    torch.manual_seed(3)
    first, second = collator(features), collator(features)
    torch.manual_seed(3)
    again = collator(features)
    assert torch.equal(first["labels"], again["labels"])
    assert not torch.equal(first["labels"], second["labels"])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_hide_what_the_main_process_does(context: str) -> None:
    features = random_ids(list(range(20, 44)))
    collator = DataCollatorForWholeWordMask(made(WORDPIECE), seed=4)
    collator(features)
    here = torch.utils.data.DataLoader(features, batch_size=6, collate_fn=collator)  # type: ignore[arg-type]
    there = torch.utils.data.DataLoader(
        features,  # type: ignore[arg-type]
        batch_size=6,
        collate_fn=collator,
        num_workers=1,
        multiprocessing_context=context,
    )
    for one, other in zip(here, there, strict=True):
        assert {name: column.tolist() for name, column in one.items()} == {n: c.tolist() for n, c in other.items()}


def test_a_batch_is_of_transformers_kind() -> None:
    tokenizer = made(WORDPIECE)
    for collator, examples in (
        (DataCollatorForLanguageModeling(tokenizer), random_ids([5, 3])),
        (DataCollatorForNextSentencePrediction(tokenizer), documents(3)),
    ):
        batch = collator(examples)
        assert isinstance(batch, BatchEncoding)
        assert torch.equal(batch.input_ids, batch["input_ids"])
        assert batch.to("meta")["labels"].is_meta


def test_numpy_comes_out_as_torch_does() -> None:
    features = [feature | {"weight": 0.5} for feature in random_ids([9, 30])]
    collator = DataCollatorForLanguageModeling(made(WORDPIECE), seed=1)
    theirs, ours = collator(features), collator(features, return_tensors="np")
    assert set(ours) == set(theirs) == {"input_ids", "attention_mask", "labels", "weight"}
    for name, column in ours.items():
        assert isinstance(column, np.ndarray)
        np.testing.assert_array_equal(column, theirs[name].numpy())
    assert theirs["weight"].dtype == torch.float32
    assert theirs["input_ids"].dtype == theirs["labels"].dtype == torch.int64


def test_every_form_of_an_example_is_the_same_to_it() -> None:
    features, collator = random_ids([9, 30]), DataCollatorForLanguageModeling(made(WORDPIECE), seed=1)
    expected = collator(features)
    forms: list[Any] = [
        [feature["input_ids"] for feature in features],
        [torch.tensor(feature["input_ids"]) for feature in features],
        [np.array(feature["input_ids"], np.int32) for feature in features],
        list(datasets.Dataset.from_list(features)),
        list(datasets.Dataset.from_list(features).with_format("torch")),
        [made(WORDPIECE).pad(feature) for feature in features],
    ]
    for form in forms:
        batch = collator(form)
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_without_mlm_the_labels_are_the_ids() -> None:
    tokenizer = copy.deepcopy(made(WORDPIECE))
    tokenizer.pad_token = tokenizer.sep_token
    features = random_ids([5, 9])
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)(features)
    for row, labels, real, feature in zip(*batch_columns(batch), features, strict=True):
        assert row[real].tolist() == labels[real].tolist() == feature["input_ids"]
        assert (labels[~real] == -100).all()


def test_chinese_words_that_a_segmenter_found_are_hidden_whole() -> None:
    tokenizer = made(WORDPIECE)
    ids = tokenizer("孩子们问他今天有鱼吗")["input_ids"]
    reference = [2, 3, 7]
    features = [{"input_ids": ids, "chinese_ref": reference}] * 200
    asked = DataCollatorForWholeWordMask(tokenizer, mlm_probability=0.3, seed=1)(features)["labels"] != -100
    for word in ((1, 2, 3), (6, 7)):
        assert torch.equal(asked[:, list(word)].any(1), asked[:, list(word)].all(1))
    assert not torch.equal(asked[:, 4], asked[:, 5])


@pytest.mark.parametrize("whole", [False, True])
def test_ids_that_the_tokenizer_does_not_have_are_words_of_their_own(whole: bool) -> None:
    tokenizer = made(WORDPIECE)
    ids = [tokenizer.cls_token_id, *range(len(tokenizer), len(tokenizer) + 20), tokenizer.sep_token_id]
    collator = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=whole, seed=1)
    labels = collator([{"input_ids": ids}] * 20)["labels"]
    assert (labels != -100).sum(1).tolist() == [3] * 20
    assert not (labels[:, [0, -1]] != -100).any()


def test_a_tokenizer_of_special_tokens_alone_has_no_other_token_to_show() -> None:
    special = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    vocabulary = {token: id for id, token in enumerate(special.values())}
    bare = Tokenizer(WordLevel(vocabulary, unk_token=special["unk_token"]))
    collator = DataCollatorForLanguageModeling(PreTrainedTokenizerFast(tokenizer_object=bare, **special), seed=1)
    ids = torch.tensor([[2, *range(5, 45), 3]] * 20)
    batch = collator([{"input_ids": row} for row in ids])
    asked = batch["labels"] != -100
    assert asked.sum(1).tolist() == [6] * 20
    assert torch.equal(batch["labels"][asked], ids[asked])
    assert set(batch["input_ids"][asked].tolist()) - {4} <= set(ids[asked].tolist())


def test_sentence_order_labels_go_with_the_batch() -> None:
    tokenizer = made(WORDPIECE)
    features = [f | {"sentence_order_label": torch.tensor(n % 2)} for n, f in enumerate(random_ids([5, 9, 7]))]
    batch = DataCollatorForSOP(tokenizer)(features)
    assert batch["sentence_order_label"].tolist() == [0, 1, 0]
    with pytest.raises(InputError, match="no sentence_order_label"):
        DataCollatorForSOP(tokenizer)(random_ids([5]))


class Alternate(DataCollatorForLanguageModeling):
    """Hides every second token that may be."""

    def torch_mask_tokens(self, inputs: torch.Tensor, special_tokens_mask: torch.Tensor) -> Any:
        hidden = (torch.arange(inputs.shape[1]) % 2 == 0) & ~special_tokens_mask.bool()
        return inputs.masked_fill(hidden, self.tokenizer.mask_token_id), inputs.masked_fill(~hidden, -100)


def test_masks_of_a_subclass_are_taken() -> None:
    tokenizer, features = made(WORDPIECE), random_ids([7, 3])
    batch = Alternate(tokenizer)(features)
    ids = [row["input_ids"] for row in features]
    for row, (found, labels) in zip(ids, zip(batch["input_ids"], batch["labels"], strict=True), strict=True):
        asked = [at for at in range(len(row)) if at % 2 == 0 and 0 < at < len(row) - 1]
        assert labels.ne(-100).nonzero().flatten().tolist() == asked
        assert [found[at].item() for at in asked] == [tokenizer.mask_token_id] * len(asked)
        assert labels[asked].tolist() == [row[at] for at in asked]
    with pytest.raises(RecipeError, match="Deaf has torch_call, which is not called here; override __call__, or"):
        type("Deaf", (DataCollatorForLanguageModeling,), {"torch_call": lambda self, examples: {}})


def documents(count: int, seed: int = 0) -> list[list[list[int]]]:
    """Documents of sentences whose tokens are from a range of the document's own."""
    draw = np.random.default_rng(seed)
    return [
        [draw.integers(100 + 50 * number, 150 + 50 * number, draw.integers(3, 9)).tolist() for _ in range(12)]
        for number in range(count)
    ]


@pytest.mark.parametrize("wrap", [lambda document: document, lambda document: {"input_ids": document}])
def test_documents_are_cut_into_pairs_true_to_their_labels(wrap: Any) -> None:
    tokenizer = made(WORDPIECE)
    collator = DataCollatorForNextSentencePrediction(tokenizer, block_size=32, seed=1, mlm_probability=0.2)
    labels = []
    for seed in range(30):
        batch = collator([wrap(document) for document in documents(10, seed)])
        assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels", "next_sentence_label"}
        assert batch["input_ids"].shape[1] <= 32
        whole = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
        for ids, types, label in zip(whole, batch["token_type_ids"], batch["next_sentence_label"], strict=True):
            sources = [set(((ids[(types == side) & (ids >= 100)] - 100) // 50).tolist()) for side in (0, 1)]
            assert len(sources[0]) == len(sources[1]) == 1
            assert (sources[0] != sources[1]) == bool(label)
            labels.append(int(label))
    assert np.mean(labels) == pytest.approx(0.5, abs=0.05)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(7, 40))
def test_two_segments_are_cut_to_the_block_at_their_ends(first: int, second: int, block_size: int) -> None:
    tokenizer = made(WORDPIECE)
    collator = DataCollatorForNextSentencePrediction(tokenizer, mlm=False, block_size=block_size)
    feature = {"tokens_a": [10] * first, "tokens_b": [11] * second, "is_random_next": True}
    batch = collator([feature])
    ids = batch["input_ids"][0].tolist()
    assert len(ids) == min(block_size, first + second + 3)
    kept = ids.count(10), ids.count(11)
    assert abs(kept[0] - kept[1]) <= 1 or kept[0] == first or kept[1] == second
    assert "labels" not in batch
    assert batch["next_sentence_label"].tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mlm_probability": 0.0}, "mlm_probability is a share between 0 and 1, not 0.0"),
        ({"mlm_probability": 1.5}, "mlm_probability is a share between 0 and 1, not 1.5"),
        ({"mask_replace_prob": 0.9, "random_replace_prob": 0.2}, "at most 1 together"),
        ({"return_tensors": "tf"}, "return_tensors is 'tf'; accepted are 'pt' and 'np'"),
        ({"mlm": False, "whole_word_mask": True}, "choose one"),
    ],
)
def test_settings_that_do_not_go(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DataCollatorForLanguageModeling(made(WORDPIECE), **arguments)


def test_what_makes_no_batch_is_named() -> None:
    tokenizer = made(WORDPIECE)
    collator = DataCollatorForLanguageModeling(tokenizer)
    ids = {"input_ids": [2, 9, 3]}
    for features, message in (
        ([], "without examples"),
        ([{"text": "a"}], "no input_ids; its columns are text"),
        ([ids | {"text": "a"}], "'text' holds no numbers"),
        ([ids | {"score": 1}, ids], "example 1 of a batch has no column 'score'"),
        ([ids | {"tags": [1, 2]}, ids | {"tags": [1]}], "'tags' has examples of different shapes"),
    ):
        with pytest.raises(InputError, match=message):
            collator(features)
    with pytest.raises(InputError, match="a batch of one document"):
        DataCollatorForNextSentencePrediction(tokenizer)(documents(1))
    for no_pair in (ids, torch.tensor([2, 9, 3]), list(torch.tensor([2, 9, 3])), {"input_ids": torch.tensor([2, 9])}):
        with pytest.raises(InputError, match="neither a pair"):
            DataCollatorForNextSentencePrediction(tokenizer)([no_pair, no_pair])
    with pytest.raises(InputError, match=r"tokenizers\.Tokenizer; .* wrap it: PreTrainedTokenizerFast"):
        DataCollatorForLanguageModeling(tokenizer.backend_tokenizer)
    unpadded = copy.deepcopy(tokenizer)
    unpadded.pad_token = None
    with pytest.raises(ValueError, match="no pad token"):  # As transformers' collator raises.
        DataCollatorForLanguageModeling(unpadded)(random_ids([3, 5]))
    unmasked = copy.deepcopy(tokenizer)
    unmasked.mask_token = None
    with pytest.raises(RecipeError, match="no mask token"):
        DataCollatorForLanguageModeling(unmasked)
