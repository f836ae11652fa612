from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_text import CHINESE, ENGLISH, RUSSIAN, as_lines, documents
from small_tokenizers import KINDS, made
from transformers import PreTrainedTokenizerFast
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from bertwright import (
    LineByLineTextDataset,
    LineByLineWithSOPTextDataset,
    TextDataset,
    TextDatasetForNextSentencePrediction,
    TextDatasetForSameSentencePrediction,
)
from bertwright.errors import InputError, RecipeError
from bertwright.text.tokenizer import Tokenizer

WORDPIECE = "wordpiece"
PAIRS = (TextDatasetForNextSentencePrediction, TextDatasetForSameSentencePrediction)
LINES = [*re.split(r"(?<=[.]) ", f"{ENGLISH} {RUSSIAN}"), *CHINESE.split("。")[:-1]]


def numbered(count: int, seed: int = 0, longest: int = 12) -> list[list[str]]:
    """Documents of sentences whose words say where they stand: word w of sentence s of document d is `d s w`."""
    draw = np.random.default_rng(seed)
    return [
        [" ".join(f"d{d}s{s}w{w}" for w in range(draw.integers(1, longest))) for s in range(draw.integers(2, 20))]
        for d in range(count)
    ]


def word_tokenizer(corpus: list[list[str]]) -> Any:
    """Each word of a corpus is a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = [word for document in corpus for sentence in document for word in sentence.split()]
    backend = Tokenizer(models.WordLevel({w: n for n, w in enumerate([*names, *words])}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{f"{name[1:-1].lower()}_token": name for name in names})


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, list[list[str]], Any]:
    made_of = numbered(60)
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(made_of), "utf-8")
    return path, made_of, word_tokenizer(made_of)


def segments(item: dict[str, torch.Tensor], tokenizer: Any) -> tuple[list[str], list[str]]:
    tokens = tokenizer.convert_ids_to_tokens(item["input_ids"].tolist())
    assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
    border = tokens.index("[SEP]")
    assert item["token_type_ids"].tolist() == [0] * (border + 1) + [1] * (len(tokens) - border - 1)
    return tokens[1:border], tokens[border + 1 : -1]


def place(word: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", word))


def in_text(made_of: list[list[str]]) -> dict[str, int]:
    """Where each word stands in the whole corpus."""
    words = (word for document in made_of for sentence in document for word in sentence.split())
    return {word: at for at, word in enumerate(words)}


def is_stretch(words: list[str], at: dict[str, int]) -> bool:
    """Whether words stand in the text as they stand here."""
    return [at[word] for word in words] == list(range(at[words[0]], at[words[0]] + len(words)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_an_item_cut_to_the_block(tmp_path: Path, kind: str) -> None:
    tokenizer, path = made(kind), tmp_path / "lines.txt"
    path.write_bytes("\r\n".join(["", *LINES, "   ", *LINES]).encode("utf-8-sig"))
    for block_size in (512, 12):
        dataset = LineByLineTextDataset(tokenizer, path, block_size)
        expected = tokenizer([*LINES, *LINES], truncation=True, max_length=block_size)["input_ids"]
        if kind == "unigram":  # It was made without a post-processor.
            room = block_size - 2
            plain = [ids[:room] for ids in tokenizer([*LINES, *LINES])["input_ids"]]
            expected = [[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id] for ids in plain]
        assert [item["input_ids"].tolist() for item in dataset] == expected
        assert dataset.examples[-1]["input_ids"].tolist() == expected[-1]
        assert [item["input_ids"].tolist() for item in dataset[2:5]] == expected[2:5]


def test_a_tokenizer_written_in_python_gives_the_same(tmp_path: Path) -> None:
    fast = made(WORDPIECE)
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(fast.get_vocab(), key=fast.get_vocab().get)) + "\n", "utf-8")
    (tmp_path / "corpus.txt").write_text("\n".join(LINES), "utf-8")
    slow = BertTokenizerLegacy(str(tmp_path / "vocab.txt"), do_lower_case=False)
    one, other = (LineByLineTextDataset(tokenizer, tmp_path / "corpus.txt", 64) for tokenizer in (fast, slow))
    assert [item["input_ids"].tolist() for item in one] == [item["input_ids"].tolist() for item in other]


def test_our_own_tokenizer_gives_the_same(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(LINES), "utf-8")
    made(WORDPIECE).save_pretrained(tmp_path / "tokenizer")
    kinds = (Tokenizer.load(tmp_path / "tokenizer"), made(WORDPIECE))
    one, other = (LineByLineTextDataset(tokenizer, tmp_path / "corpus.txt", 64) for tokenizer in kinds)
    assert contents(one) == contents(other)


def test_the_text_is_cut_into_blocks_from_end_to_end(tmp_path: Path) -> None:
    tokenizer, path = made(WORDPIECE), tmp_path / "text.txt"
    path.write_text("\n".join(LINES * 40), "utf-8")
    dataset = TextDataset(tokenizer, path, 33)
    whole = tokenizer("\n".join(LINES * 40), add_special_tokens=False)["input_ids"]
    assert len(dataset) == len(whole) // 31
    assert torch.cat([item[1:-1] for item in dataset]).tolist() == whole[: len(dataset) * 31]
    assert {(len(item), int(item[0]), int(item[-1])) for item in dataset} == {(33, 2, 3)}


@pytest.mark.parametrize("block_size", [16, 64])
def test_next_sentences_are_next_and_the_others_of_another_document(
    corpus: tuple[Path, list[list[str]], Any], block_size: int
) -> None:
    path, made_of, tokenizer = corpus
    at, labels = in_text(made_of), []
    for item in TextDatasetForNextSentencePrediction(tokenizer, path, block_size):
        assert len(item["input_ids"]) <= block_size
        first, second = segments(item, tokenizer)
        assert is_stretch(first, at)
        assert is_stretch(second, at)
        label = int(item["next_sentence_label"])
        assert (place(first[0])[0] != place(second[0])[0]) == bool(label)
        assert label or 1 <= at[second[0]] - at[first[-1]] < block_size
        labels.append(label)
    assert np.mean(labels) == pytest.approx(0.5, abs=3 * 0.5 / len(labels) ** 0.5)


@pytest.mark.parametrize("block_size", [16, 64])
def test_same_sentences_are_the_same_and_the_others_of_another_document(
    corpus: tuple[Path, list[list[str]], Any], block_size: int
) -> None:
    path, made_of, tokenizer = corpus
    at, labels = in_text(made_of), []
    for item in TextDatasetForSameSentencePrediction(tokenizer, path, block_size):
        assert len(item["input_ids"]) <= block_size
        first, second = segments(item, tokenizer)
        label = int(item["next_sentence_label"])
        assert (place(first[0])[0] == place(second[0])[0]) == bool(label)
        assert not label or 1 <= at[second[0]] - at[first[-1]] < block_size
        labels.append(label)
    assert np.mean(labels) == pytest.approx(0.5, abs=3 * 0.5 / len(labels) ** 0.5)


def test_sentence_order_labels_say_which_comes_first(tmp_path: Path) -> None:
    made_of = numbered(40)
    tokenizer, at, labels = word_tokenizer(made_of), in_text(made_of), []
    folder = tmp_path / "wiki"
    for half, name in ((made_of[:20], "AA/wiki_00"), (made_of[20:], "AB/wiki_00")):
        (folder / name).parent.mkdir(parents=True)
        articles = ("\n".join(f"{sentence}\n" for sentence in document) for document in half)
        marked = (f'<doc id="{n}" title="x">\nA title\n\n{article}\n</doc>\n' for n, article in enumerate(articles))
        (folder / name).write_text("".join(marked), "utf-8")
    dataset = LineByLineWithSOPTextDataset(tokenizer, folder, 48)
    for item in dataset:
        first, second = segments(item, tokenizer)
        assert "[UNK]" not in {*first, *second}
        assert place(first[0])[0] == place(second[0])[0]
        assert (at[first[0]] > at[second[0]]) == bool(item["sentence_order_label"])
        labels.append(int(item["sentence_order_label"]))
    assert np.mean(labels) == pytest.approx(0.5, abs=3 * 0.5 / len(labels) ** 0.5)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.txt").write_text(as_lines(made_of[:20]), "utf-8")
    with gzip.open(plain / "b.txt.gz", "wt", encoding="utf-8") as packed:
        packed.write(as_lines(made_of[20:]))
    LineByLineTextDataset(tokenizer, plain / "a.txt", 48)
    same = LineByLineWithSOPTextDataset(tokenizer, plain, 48)
    assert [item["input_ids"].tolist() for item in same] == [item["input_ids"].tolist() for item in dataset]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_share_of_random_pairs_is_as_asked(corpus: tuple[Path, list[list[str]], Any], share: float) -> None:
    path, _, tokenizer = corpus
    following = TextDatasetForNextSentencePrediction(tokenizer, path, 24, nsp_probability=share)
    same = TextDatasetForSameSentencePrediction(tokenizer, path, 24, ssp_probability=share)
    margin = 4 * (share * (1 - share) / len(same)) ** 0.5
    assert np.mean([int(item["next_sentence_label"]) for item in following]) == pytest.approx(share, abs=margin)
    assert np.mean([int(item["next_sentence_label"]) for item in same]) == pytest.approx(1 - share, abs=margin)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=6), min_size=2, max_size=5),
    block_size=st.integers(7, 40),
    short=st.floats(0, 1),
)
def test_no_pair_is_longer_than_the_block(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int]], block_size: int, short: float
) -> None:
    made_of = [
        [" ".join(f"d{d}s{s}w{w}" for w in range(size)) for s, size in enumerate(document)]
        for d, document in enumerate(sizes)
    ]
    path = tmp_path_factory.mktemp("sizes") / "corpus.txt"
    path.write_text(as_lines(made_of), "utf-8")
    tokenizer = word_tokenizer(made_of)
    for kind in PAIRS:
        settings_of: dict[str, Any] = {"short_seq_probability": short} if kind is PAIRS[0] else {}
        dataset = kind(tokenizer, path, block_size, **settings_of)
        assert len(dataset)
        for item in dataset:
            first, second = segments(item, tokenizer)
            assert first
            assert second
            assert len(first) + len(second) + 3 <= block_size


def contents(dataset: Any) -> list[Any]:
    return [
        {name: column.tolist() for name, column in item.items()} if isinstance(item, dict) else item.tolist()
        for item in dataset
    ]


def inodes(path: Path) -> dict[Path, int]:
    return {file: file.stat().st_ino for file in path.rglob("*") if file.is_file() and file.name != "lock"}


@pytest.mark.parametrize(
    "kind", [LineByLineTextDataset, TextDataset, *PAIRS, LineByLineWithSOPTextDataset], ids=lambda kind: kind.__name__
)
def test_a_second_construction_reads_the_first_ones_ids(tmp_path: Path, kind: Callable[..., Any]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path, tokenizer = folder / "corpus.txt", made(WORDPIECE)
    path.write_text(as_lines(documents(30)), "utf-8")
    given_path = folder if kind is LineByLineWithSOPTextDataset else path
    first = kind(tokenizer, given_path, 32)
    written = inodes(first.folder.parent)
    tokenizer("A call leaves its settings in the tokenizer.", truncation=True, padding="max_length", max_length=8)
    second = kind(tokenizer, given_path, 32)
    assert inodes(first.folder.parent) == written
    assert contents(first) == contents(second)
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".pkl", ".pickle") or "cached_" in file.name]
    before = contents(first)
    path.write_text(as_lines(documents(31, seed=1)), "utf-8")
    changed = kind(tokenizer, given_path, 32)
    assert contents(changed) != before
    assert not set(inodes(first.folder.parent)) & set(written)
    assert contents(first) == before


@pytest.mark.parametrize("kind", [TextDataset, *PAIRS], ids=lambda kind: kind.__name__)
def test_overwriting_makes_the_ids_anew(tmp_path: Path, kind: Callable[..., Any]) -> None:
    path, tokenizer = tmp_path / "corpus.txt", made(WORDPIECE)
    path.write_text(as_lines(documents(30)), "utf-8")
    first = kind(tokenizer, path, 32)
    written = inodes(first.folder)
    again = kind(tokenizer, path, 32, overwrite_cache=True)
    assert set(inodes(again.folder)) == set(written)
    assert inodes(again.folder) != written
    assert contents(again) == contents(first)


def test_what_decides_the_items_has_a_cache_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(30)), "utf-8")
    made_of = [
        TextDatasetForNextSentencePrediction(made(kind), path, block_size, seed=seed)
        for kind, block_size, seed in ((WORDPIECE, 32, 1), (WORDPIECE, 24, 1), (WORDPIECE, 32, 2), ("bpe", 32, 1))
    ]
    assert len({dataset.folder for dataset in made_of}) == 4
    assert len({str(contents(dataset)) for dataset in made_of}) == 4


def test_half_written_ids_are_made_again(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "corpus.txt", made(WORDPIECE)
    path.write_text("\n".join(LINES), "utf-8")
    first = LineByLineTextDataset(tokenizer, path, 32)
    expected = contents(first)
    (first.folder / "text" / "tokens.bin").write_bytes(b"\0")
    assert contents(LineByLineTextDataset(tokenizer, path, 32)) == expected


def test_the_cache_goes_where_it_is_asked_to_and_where_it_can(tmp_path: Path) -> None:
    path, tokenizer = tmp_path / "texts" / "corpus.txt", made(WORDPIECE)
    path.parent.mkdir()
    path.write_text("\n".join(LINES), "utf-8")
    TextDataset(tokenizer, path, 32, cache_dir=tmp_path / "elsewhere")
    assert os.listdir(path.parent) == ["corpus.txt"]
    assert list((tmp_path / "elsewhere").rglob("tokens.bin"))
    path.with_name("corpus.txt.bertwright").write_text("in the way")
    dataset = LineByLineTextDataset(tokenizer, path, 32)
    assert tmp_path not in dataset.folder.parents
    assert len(dataset) == len(LINES)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_the_same_items(tmp_path: Path, context: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(10)), "utf-8")
    dataset = TextDatasetForNextSentencePrediction(made(WORDPIECE), path, 32)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
    assert contents(loader) == contents(dataset)


def test_two_processes_write_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(200)), "utf-8")
    made(WORDPIECE).save_pretrained(tmp_path / "tokenizer")
    code = (
        "import sys; from transformers import AutoTokenizer\n"
        "from bertwright import TextDatasetForNextSentencePrediction as D\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "d = D(tokenizer, sys.argv[2], 32); print(len(d), d[len(d) - 1]['input_ids'].tolist())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "tokenizer"), str(path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    assert len(list(tmp_path.rglob("manifest.json"))) == 2


def test_bad_files_are_named(tmp_path: Path) -> None:
    tokenizer = made(WORDPIECE)
    empty, blank, one = (tmp_path / name for name in ("empty.txt", "blank.txt", "one.txt"))
    empty.touch()
    blank.write_text("\n \n\n")
    one.write_text("The heron waited.\nNothing moved.\nA boat came round the bend.\n")
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"The heron waited.\nNothing \xff moved.\n" * 20)
    for kind in (LineByLineTextDataset, TextDataset, *PAIRS):
        for path, message in (
            (tmp_path / "missing.txt", r"missing\.txt: file_path is not there"),
            (tmp_path, "file_path is a folder; accepted is one text file"),
            (empty, r"empty\.txt: file_path is empty"),
            (blank, r"blank\.txt: "),
            (broken, r"broken\.txt:2: not UTF-8"),
        ):
            with pytest.raises(InputError, match=message):
                kind(tokenizer, path, 32)
    for kind in PAIRS:
        with pytest.raises(InputError, match=r"one\.txt: 1 document, and pairs take sentences of at least 2"):
            kind(tokenizer, one, 32)
    assert len(TextDatasetForNextSentencePrediction(tokenizer, one, 32, nsp_probability=0.0))
    with pytest.raises(InputError, match="less than one block of 512"):
        TextDataset(tokenizer, one, 512)
    with pytest.raises(InputError, match=r"one\.txt: file_dir is a file"):
        LineByLineWithSOPTextDataset(tokenizer, one, 32)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no file with text"):
        LineByLineWithSOPTextDataset(tokenizer, tmp_path / "nothing", 32)


def test_bad_settings_are_named(tmp_path: Path) -> None:
    tokenizer, path = made(WORDPIECE), tmp_path / "corpus.txt"
    path.write_text(as_lines(documents(3)), "utf-8")
    with pytest.raises(RecipeError, match="block_size is 2, of which special tokens take 2; accepted is 3 or more"):
        LineByLineTextDataset(tokenizer, path, 2)
    with pytest.raises(RecipeError, match="block_size is 6, of which special tokens take 3; accepted is 7 or more"):
        TextDatasetForNextSentencePrediction(tokenizer, path, 6)
    with pytest.raises(RecipeError, match="nsp_probability is a share between 0 and 1, not 2"):
        TextDatasetForNextSentencePrediction(tokenizer, path, 32, nsp_probability=2)
    with pytest.raises(RecipeError, match="ssp_probability is a share between 0 and 1, not -1"):
        TextDatasetForSameSentencePrediction(tokenizer, path, 32, ssp_probability=-1)
    with pytest.raises(RecipeError, match="what a tokenizer without a longest length says"):
        TextDatasetForNextSentencePrediction(tokenizer, path, tokenizer.model_max_length)
    with pytest.raises(InputError, match="wrap it: PreTrainedTokenizerFast"):
        LineByLineTextDataset(tokenizer.backend_tokenizer, path, 32)
