"""Tags: first pieces, long sentences, tokens that the tokenizer drops, and what does not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import batch_of, examples, model, rows, tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from bertwright.data.pack import pack
from bertwright.data.rows import Rows
from bertwright.errors import InputError
from bertwright.tasks.tag import Tag, pieces
from bertwright.text.formats import LabelledRow
from bertwright.text.tokenizer import ROLES, Tokenizer

NER = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
WORDS = ["гавань", "Гавани", "lo", "lowest", "newer", "船在黎明", "港", "\u200b", "", "́", "!?", "e\u0301té", " \u00ad "]


def wordpieces() -> Tokenizer:
    """A letter a piece, or a known beginning of a word."""
    letters = sorted({c for word in WORDS for c in normalizers.NFD().normalize_str(word.lower())} - {" "})
    known = [f"[{role.upper()}]" for role in ROLES] + ["low", "гав", *letters, *(f"##{c}" for c in letters)]
    kind = models.WordPiece({w: n for n, w in enumerate(known)}, unk_token="[UNK]")
    backend = tokenizers.Tokenizer(kind)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(backend, {})


def bytepieces() -> Tokenizer:
    """Bytes, with the space before a word in its first piece, as in GPT-2, RoBERTa and ModernBERT."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [f"[{role.upper()}]" for role in ROLES] + alphabet + ["Ġl", "Ġlo"]
    backend = tokenizers.Tokenizer(models.BPE({w: n for n, w in enumerate(known)}, [("Ġ", "l"), ("Ġl", "o")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, {})


KINDS = {"wordpiece": wordpieces(), "bytes": bytepieces()}


def rows_of(*fields: dict[str, Any], length: int = 24, own: Tokenizer | None = None) -> Rows:
    return Rows((LabelledRow(f, f"t.conll:{at}") for at, f in enumerate(fields, 1)), own or tokenizer(), length)


@pytest.mark.parametrize("spell", [str, json.dumps, lambda words: json.dumps(words, ensure_ascii=False, indent=1)])
def test_lists_may_be_spelled_out_as_tables_have_them(spell: Callable[[list[str]], str]) -> None:
    tokens, tags = ["it's", 'a "гавань"', "[1]"], ["O", "B-LOC", "O"]
    plain = {"tokens": tokens, "tags": tags}
    spelled = {name: spell(words) for name, words in plain.items()}
    task = Tag().settled(rows_of(spelled))
    assert task == Tag().settled(rows_of(plain))
    (one,), (other,) = (examples(task, rows_of(fields)) for fields in (spelled, plain))
    assert (one.ids.tolist(), one.labels["tag"].tolist()) == (other.ids.tolist(), other.labels["tag"].tolist())


def test_a_line_of_text_is_tagged_by_its_words() -> None:
    one, other = rows_of({"text": "the boat  船", "tags": None}, {"tokens": ["the", "boat", "船"]})
    cut = [list(Tag(classes=NER).examples(row, np.random.default_rng(0))) for row in (one, other)]
    assert cut[0][0].ids.tolist() == cut[1][0].ids.tolist()
    with pytest.raises(
        InputError,
        match=r"column 'tokens' is missing or empty; the columns are words \(docs",
    ):
        examples(Tag(classes=NER), rows_of({"words": "the boat", "tags": None}))


@pytest.mark.parametrize("text", ["[ laughter ]", "[noise] the boat [noise]", "[noise]", "the [boat, 船]"])
def test_brackets_in_a_text_are_no_list(text: str) -> None:
    tags = " ".join("O" for _ in text.split())
    (one,) = examples(Tag(classes=NER), rows_of({"tokens": text, "tags": tags}))
    assert one.labels["tokens"].tolist() == [*range(len(text.split()))]


@pytest.mark.parametrize("tags", ["[B-LOC, O]", "['B-LOC' 'O']", "[0 1]", "['B-LOC', 'O]"])
def test_what_was_meant_as_a_list_and_is_none_is_refused(tags: str) -> None:
    with pytest.raises(InputError, match=r"t.conll:1: column 'tags' holds .*, which is no list in JSON's or Python's"):
        Tag().settled(rows_of({"tokens": ["the", "boat"], "tags": tags}))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.sampled_from(sorted(KINDS)))
def test_every_token_has_a_first_piece(tokens: list[str], kind: str) -> None:
    own = KINDS[kind]
    row = rows_of({"tokens": tokens}, own=own)[0]
    ids, firsts = pieces(row, tokens)
    assert len(firsts) == len(tokens) == len(set(firsts.tolist()))
    assert (np.diff(firsts) > 0).all()
    assert firsts[0] == 0
    assert ids[ids != own.vocabulary.unk].tolist() == own.encode(" ".join(tokens)).tolist()
    for token, at in zip(tokens, firsts, strict=True):
        alone = own.encode(token)
        if kind == "wordpiece":
            assert ids[at] == (alone[0] if len(alone) else own.vocabulary.unk)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_first_pieces_are_those_of_words(kind: str) -> None:
    own = KINDS[kind]
    tokens = ["lowest", "гавань", "lo", "船在黎明"]
    ids, firsts = pieces(rows_of({"tokens": tokens}, own=own)[0], tokens)
    said = [own.decode(ids[a:b]).replace(" ", "").replace("##", "") for a, b in pairwise([*firsts, len(ids)])]
    assert said == tokens


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 90), st.integers(8, 24))
def test_long_sentences_are_tagged_whole(number: int, length: int) -> None:
    own = KINDS["wordpiece"]
    tokens = [("lowest", "港", "newer")[at % 3] for at in range(number)]
    task = Tag(classes=NER)
    some = rows_of({"tokens": tokens, "tags": ["O"] * number}, length=length, own=own)
    cut = examples(task, some)
    assert np.concatenate([one.labels["tokens"] for one in cut]).tolist() == list(range(number))
    for one in cut:
        assert len(one) <= length
        for place, token in zip(one.labels["places"], one.labels["tokens"], strict=True):
            assert one.ids[place] == own.encode(tokens[token])[0]
    if number > 60:
        assert len(cut) > 1


@torch.no_grad()
def test_answers_are_put_together_again() -> None:
    """A window sees less than the sentence, but each token's answer is from one window, in order."""
    task, own = Tag(classes=NER), KINDS["wordpiece"]
    tokens = ["lowest", "港", "newer", "гавань"] * 9
    some = rows_of({"tokens": tokens}, {"tokens": []}, {"tokens": "lo 港"}, length=16, own=own)
    whole = model(task, own.vocabulary.size).eval()
    answers = []
    for row in some:
        cut = examples(task, Rows([row.fields], own, 16))
        said = task.answers(whole.encoder, whole.head, pack(cut, own.vocabulary)) if cut else []
        expected = [int(s["tag"][p]) for s, one in zip(said, cut, strict=True) for p in one.labels["places"]]
        answers.append(task.together(row, cut, said))
        assert answers[-1]["predicted"] == [NER[tag] for tag in expected]
    assert [len(answer["predicted"]) for answer in answers] == [36, 0, 2]
    assert [len(answer["probability"]) for answer in answers] == [36, 0, 2]
    for found in answers[0]["entities"]:
        assert found["text"] == " ".join(tokens[found["start"] : found["end"]])


def test_tags_settle_and_entities_are_graded() -> None:
    some = rows_of({"tokens": ["the", "boat", "船"], "tags": ["O", "B-X", "I-X"]}, {"tokens": "rain", "tags": "B-Y"})
    task = Tag().settled(some)
    assert task.classes == ("B-X", "B-Y", "I-X", "I-Y", "O")
    assert task.settled(rows(Tag())) is task
    graded = task.grade(some, [{"predicted": ["O", "B-X", "I-X"]}, {"predicted": ["B-X"]}])
    assert graded == {"tag.precision": 0.5, "tag.recall": 0.5, "tag.f1": 0.5}
    assert task.score({"tag.accuracy": 0.9, **graded}) == 0.5
    assert Tag(classes=("NOUN", "VERB")).grade(some, []) == {}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "t.conll:2: 2 tokens and 1 tags; each token has one"),
        ({"tokens": "a b", "tags": "O O O"}, "t.conll:2: 2 tokens and 3 tags; each token has one"),
        (
            {"tokens": ["a"], "tags": ["B-DATE"]},
            "t.conll:2: tag 'B-DATE' is unknown to the model, whose tags are 'B-LOC'",
        ),
        (
            {"tokens": 3, "tags": ["O"]},
            "t.conll:2: column 'tokens' holds 3; accepted are a list, and a text with spaces",
        ),
        ({"tags": ["O"]}, "t.conll:2: column 'tokens' is missing or empty; the columns are tags"),
    ],
)
def test_sentences_that_do_not_fit(fields: dict[str, Any], said: str) -> None:
    some = rows_of({"tokens": ["a"], "tags": ["O"]}, fields)
    with pytest.raises(InputError, match=said):
        examples(Tag(classes=NER), some)


def test_a_single_tag_is_refused_and_so_is_none() -> None:
    with pytest.raises(InputError, match="column 'tags' holds 1 tag; at least 2 are needed"):
        Tag().settled(rows_of({"tokens": "a b", "tags": "O O"}))
    task = Tag(classes=NER)
    with pytest.raises(InputError, match="without a label cannot be learned from or judged"):
        batch_of(task, examples(task, rows_of({"tokens": "a"})), tokenizer().vocabulary, 1)
