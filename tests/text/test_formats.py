from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from small_text import CHINESE, ENGLISH, RUSSIAN, as_lines, documents

from bertwright.errors import InputError
from bertwright.text.formats import Corpus, read_rows
from bertwright.text.sources import Tally, find_sources

ROWS: list[dict[str, Any]] = [
    {"text": ENGLISH, "label": "en"},
    {"text": f"{RUSSIAN}\n{RUSSIAN}", "label": "ru"},
    {"text": f'{CHINESE} "quoted", with\ta tab', "label": "zh"},
]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def _table(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    ".csv": lambda rows: _table(rows, ","),
    ".tsv": lambda rows: _table(rows, "\t"),
    ".parquet": _parquet,
}


def texts(*inputs: Path | str, tally: Tally | None = None, **how: Any) -> list[str]:
    corpus = Corpus(sources=find_sources(inputs), **how)
    return [document.text for document in corpus.documents(tally or Tally())]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def error(path: Path | str, **how: Any) -> str:
    with pytest.raises(InputError) as caught:
        texts(path, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("kind", WRITERS)
def test_rows_and_documents_are_the_same_in_every_format(kind: str, packing: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"data{kind}{packing}", PACKERS[packing](WRITERS[kind](ROWS)))
    rows = list(read_rows(path))
    assert rows == ROWS
    assert all(str(path) in row.where for row in rows)
    assert texts(path) == [row["text"] for row in ROWS]


@pytest.mark.parametrize("packing", PACKERS)
def test_text_in_every_packing(packing: str, tmp_path: Path) -> None:
    corpus = documents(20, RUSSIAN)
    path = write(tmp_path / f"data.TXT{packing.upper()}", PACKERS[packing](as_lines(corpus).encode()))
    tally = Tally()
    assert texts(path, tally=tally) == ["\n".join(document) for document in corpus]
    assert tally.layouts == {str(path): "lines"}
    assert tally.read == path.stat().st_size


def test_frames_of_zstandard_end_to_end(tmp_path: Path) -> None:
    pack = PACKERS[".zst"]
    path = write(tmp_path / "two.txt.zst", pack(b"one\n") + pack(b"") + pack(b"two\n" * 400_000))
    assert texts(path) == ["\n".join(["one"] + ["two"] * 400_000)]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_an_archive_cut_short_or_damaged_is_refused(packing: str, tmp_path: Path) -> None:
    whole = PACKERS[packing](as_lines(documents(200)).encode())
    assert "damaged or cut short" in error(write(tmp_path / f"cut.txt{packing}", whole[: len(whole) // 2]))
    assert "damaged or cut short" in error(write(tmp_path / f"bad.txt{packing}", b"plain text\n"))
    middle = whole[:50] + bytes(200) + whole[250:]
    assert "damaged or cut short" in error(write(tmp_path / f"middle.txt{packing}", middle))


def test_without_zstandard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "pip install 'bertwright[zstd]'" in error(write(tmp_path / "a.txt.zst", PACKERS[".zst"](b"text")))


def test_a_folder_is_walked_sorted_and_others_are_left(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", "c/d/3.jsonl", "notes.md", "b/image.png"):
        write(tmp_path / name, '{"text": "c/d/3.jsonl"}' if name.endswith("jsonl") else name)
    write(tmp_path / "b" / "empty.txt", "")
    tally = Tally()
    assert texts(tmp_path, tally=tally) == ["a.txt", "b/1.txt", "b/2.txt", "c/d/3.jsonl"]
    assert tally.empty_files == 1


def test_globs_and_files_named_twice(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.txt", "one"), write(tmp_path / "x" / "2.txt", "two")
    assert texts(f"{tmp_path}/**/*.txt") == ["one", "two"]
    assert texts(second, tmp_path, first) == ["two", "one"]


def test_folders_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "store" / "vocab.txt", "two")
    found = find_sources([tmp_path], leave_out=[tmp_path / "store"])
    assert [source.name for source in found] == [str(tmp_path / "a.txt")]


@pytest.mark.parametrize("content", [b"one\n\ntwo\n", gzip.compress(b"one\n\ntwo\n"), PACKERS[".zst"](b"one\n\ntwo")])
def test_standard_input_is_spooled(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))
    corpus = Corpus(sources=find_sources(["-"], spool=tmp_path), layout="lines")
    for _ in range(2):
        assert [document.text for document in corpus.documents(Tally())] == ["one", "two"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rows_from_standard_input(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(pack(WRITERS[".jsonl"](ROWS)))))
    assert list(read_rows("-")) == ROWS


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".json", ".parquet"])
def test_tables_and_lists_from_standard_input(
    kind: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pack((WRITERS | {".json": lambda rows: json.dumps(rows, indent=1).encode()})[kind](ROWS))
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))
    assert list(read_rows("-")) == ROWS
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))
    corpus = Corpus(sources=find_sources(["-"], spool=tmp_path))
    assert [document.text for document in corpus.documents(Tally())] == [row["text"] for row in ROWS]


@pytest.mark.parametrize("line", ["[Illustration]", "a word, text, and more", "text", "[1]", "no\ttable"])
def test_lines_that_only_look_like_rows_are_text(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(line.encode())))
    assert list(read_rows("-")) == [{"text": line}]


def test_a_line_of_text_is_a_row(tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path / "a.txt", "one\r\n\n two\n")))
    assert rows == [{"text": "one"}, {"text": " two"}]
    assert rows[1].where.endswith("a.txt:3")


def test_a_hub_data_set_is_read_through_datasets(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.jsonl", WRITERS[".jsonl"](ROWS))
    write(tmp_path / "set" / "validation.jsonl", WRITERS[".jsonl"](ROWS[:1]))
    assert texts(f"hf:{tmp_path}/set") == [row["text"] for row in ROWS]
    assert list(read_rows(f"hf:{tmp_path}/set@validation")) == ROWS[:1]
    assert "cannot be loaded" in error("hf:nobody/has-this-one")


def test_marks_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree\r\n"), layout="lines") == [
        "one\ntwo",
        "three",
    ]
    assert texts(write(tmp_path / "mac.txt", b"one\rtwo\r\rthree"), layout="lines") == ["one\ntwo", "three"]
    bom = write(tmp_path / "b.csv", b'\xef\xbb\xbftext,label\r\n"one\r\ntwo",1\r\n')
    assert list(read_rows(bom)) == [{"text": "one\ntwo", "label": "1"}]


def test_tables_with_semicolons(tmp_path: Path) -> None:
    """As spreadsheets write them in many countries; a first line with a comma in it decides for commas."""
    path = write(tmp_path / "a.csv", '"text";label\n"one; two";1,5\nthree, four;2\n')
    assert list(read_rows(path)) == [{"text": "one; two", "label": "1,5"}, {"text": "three, four", "label": "2"}]
    path = write(tmp_path / "b.csv", "text,a;b\none;two,3\n")
    assert list(read_rows(path)) == [{"text": "one;two", "a;b": "3"}]


def test_bytes_that_are_not_utf8_are_replaced_and_counted_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", f"{ENGLISH}\n".encode() + b"caf\xe9 and na\xefve \xff\xfe\n" + RUSSIAN.encode())
    tally = Tally()
    assert texts(path, tally=tally)[0].split("\n")[1] == "caf\ufffd and na\ufffdve \ufffd\ufffd"
    assert tally.undecodable == 4
    assert (
        error(path, strict=True)
        == f"{path}:2: not UTF-8 (byte 0xe9); convert it first, for example with iconv -f CP1251 -t UTF-8"
    )


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_rows_that_are_not_utf8_are_refused(kind: str, tmp_path: Path) -> None:
    """A replaced letter would be learned, and nobody told."""
    content = WRITERS[f".{kind}"]([{"text": "the boat", "label": "caf\u00e9"}])
    path = write(tmp_path / f"a.{kind}", content.replace(b"boat", b"b\xe9at"))
    with pytest.raises(InputError, match=rf"a\.{kind}:[12]: not UTF-8 \(byte 0xe9\); convert it first"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc\0def", "NUL bytes"),
        (bz2.compress(ENGLISH.encode()) * 3, "not a text file|not UTF-8 text"),
        (RUSSIAN.encode("cp1251"), "not UTF-8 text; convert it first"),
        (ENGLISH.encode("utf-16"), "UTF-16 text; convert it"),
        (b"", "no text in it"),
        (b"\n \n\n", "no text in it"),
    ],
)
def test_what_is_not_text_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(InputError, match=f"{path}: .*({said})"):
        texts(path)


def test_inputs_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "a.pdf", "%PDF")
    write(tmp_path / "hollow" / "a.txt", "")
    assert "no such file or folder" in error(tmp_path / "missing.txt")
    assert "a folder without readable files (1 of other kinds); accepted: .txt" in error(tmp_path / "folder")
    assert "not a kind of file that can be read; accepted: .txt" in error(tmp_path / "folder" / "a.pdf")
    assert "0 matches" in error(f"{tmp_path}/*.none")
    assert "no text in any of the 1 files" in error(tmp_path / "hollow")
    with pytest.raises(InputError, match="no input given"):
        find_sources([])


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "title,body\nx,y\n")
    assert error(path) == f"{path}:2: no column 'text'; the columns are title, body (set --text-field)"
    assert texts(path, field="body") == ["y"]


def test_rows_without_text_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": " "}\n{"text": null}\n\n{"text": "one"}\n')
    tally = Tally()
    assert texts(path, tally=tally) == ["one"]
    assert tally.empty == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', ":2: not a line of JSON"),
        ("a.jsonl", "[" * 100_000, ":1: not a line of JSON"),
        ("a.jsonl", '["a"]\n', ":1: expected a JSON object, found list"),
        ("a.jsonl", '{"text": 5}\n', ":1: column 'text' holds a int, not text"),
        ("a.csv", "text,label\na,b\nc\n", ":3: 1 fields where the first line names 2 (text, label)"),
        ("a.csv", "text,label\na,b,c\n", ":2: 3 fields"),
        ("a.csv", "text,label\n", "no text in it"),
        ("a.csv", "text,label,text\na,b,c\n", ":1: two columns are called 'text'"),
        ("a.csv", 'label,text\n1,"hello\n0,foo\n', ":3: not a row of a table (unexpected end of data; a field that be"),
        ("a.csv", 'label,text\n1,"hello" said\n', ":2: not a row of a table (',' expected after '\"'; a field that be"),
        ("a.parquet", "PAR1 but nothing else", "not a readable parquet file"),
    ],
)
def test_rows_that_cannot_be_read_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    assert said in error(write(tmp_path / name, content))


def test_a_file_without_rows_is_refused_where_rows_are_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rows"):
        list(read_rows(write(tmp_path / "a.jsonl", "")))


def test_standard_input_without_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BufferedReader(io.BytesIO())))
    with pytest.raises(InputError, match=r"^standard input has no rows$"):
        list(read_rows("-"))


def test_halves_of_characters_in_json_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", r'{"text": "a \ud83d b \ud83d\ude00", "more": ["\udc00", {"\ud800": 1}]}')
    row = next(read_rows(path))
    assert row == {"text": "a \ufffd b 😀", "more": ["\ufffd", {"\ufffd": 1}]}


def test_quotes_in_tables_with_tabs(tmp_path: Path) -> None:
    plain = 'text\tlabel\n"No," he said\t0\n"unpaired\t1\n'
    assert [row["text"] for row in read_rows(write(tmp_path / "a.tsv", plain))] == ['"No," he said', '"unpaired']
    quoted = 'text\tlabel\n"a ""b"" c"\t0\n"d\te"\t1\n'
    assert [row["text"] for row in read_rows(write(tmp_path / "b.tsv", quoted))] == ['a "b" c', "d\te"]


@pytest.mark.parametrize("first", [3, 1200])
def test_a_stray_quote_in_a_table_with_tabs_takes_no_lines(first: int, tmp_path: Path) -> None:
    """Wherever it stands: up to the next one all lines would go into a single field."""
    lines = [f"line {number}\t{number % 2}\n" for number in range(1500)]
    lines[first], lines[first + 60] = '"line\t0\n', 'line"\t0\n'
    rows = list(read_rows(write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(lines))))
    assert [f"{row['text']}\t{row['label']}\n" for row in rows] == lines
    assert rows[first].where.endswith(f"a.tsv:{first + 2}")


@pytest.mark.parametrize("last", ["", "\n\n", "\n\nx\t1\n"])
def test_a_stray_quote_before_blank_lines(last: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f'text\tlabel\n"unpaired\t0{last}')
    assert next(read_rows(path)) == {"text": '"unpaired', "label": "0"}


@pytest.mark.parametrize("columns", [("text", "label"), ("label", "text")])
def test_quoted_fields_of_several_lines_in_a_table_with_tabs(columns: tuple[str, str], tmp_path: Path) -> None:
    made = [dict.fromkeys(columns, f"{number}") | {"text": f'"a"\n\nb, {number}\nc'} for number in range(1500)]
    path = write(tmp_path / "a.tsv", _table(made, "\t"))
    assert list(read_rows(path)) == made


def test_quotes_that_can_be_read_both_ways_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", _table([{"text": "x", "label": "1"}, {"text": "a\tb\nc", "label": "2"}], "\t"))
    assert error(path) == f"{path}:3: its quote is closed in the next line, and both are whole rows"
    path = write(tmp_path / "b.tsv", 'text\tlabel\nx\t1\n"never\nclosed\n')
    assert f"{path}:3: not a row of a table (unexpected end of data; a field that begins" in error(path)


def test_text_in_parquet_that_is_no_utf8(tmp_path: Path) -> None:
    column = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert "not a readable parquet file ('utf-8' codec can't decode" in error(tmp_path / "a.parquet")


def test_what_a_folder_holds_that_is_no_text_of_ones_own(tmp_path: Path) -> None:
    """Stores, models, runs and hidden files, in a folder and in a glob; what is named itself is read."""
    write(tmp_path / "a.txt", "one")
    for made in ("store/tokenizer/tokenizer.json", "model/tokenizer_config.json", "run/asked.toml"):
        write(tmp_path / made, "{}")
        write((tmp_path / made).with_name("vocab.txt"), "[PAD]")
    for hidden in (".ipynb_checkpoints/a.txt", "._a.txt", "store/.cache/a.txt"):
        write(tmp_path / hidden, "hidden")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    assert texts(tmp_path) == texts(f"{tmp_path}/**/*.txt") == ["one"]
    assert texts(tmp_path / "model" / "vocab.txt") == ["[PAD]"]


def test_json_lines_with_a_byte_order_mark_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BufferedReader(io.BytesIO(b'\xef\xbb\xbf{"text": "one"}\n'))
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
    assert texts("-") == ["one"]


def test_lines_and_fields_of_megabytes(tmp_path: Path) -> None:
    long = "слово " * 500_000
    assert texts(write(tmp_path / "a.txt", long)) == [long.strip()]
    assert texts(write(tmp_path / "a.csv", f'text\n"{long}"\n')) == [long]
    assert texts(write(tmp_path / "a.jsonl", json.dumps({"text": long}))) == [long]


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one")
    corpus = Corpus(sources=find_sources([path]))
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: cannot be read: No such file"):
        list(corpus.documents(Tally()))
