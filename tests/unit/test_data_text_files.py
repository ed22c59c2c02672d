"""Files and tables of text: what is read of them, and what is wrong with them."""

import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from scud.data import Data, Text, TextOptions, TextSet, load_hub_text, load_text
from scud.data.text.tokenizers import Bytes, Characters
from scud.errors import UserError
from tests.unit.texts import vocabulary


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))


def content(source: Data, split: str = "train") -> str:
    """The text of a split."""
    text = source.split(split)
    assert isinstance(text, TextSet)
    assert isinstance(source.modality, Text)
    return source.modality.tokens.decode(text.batch(torch.arange(len(text))).x0.flatten().numpy())


def refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        load_text(path, Bytes(), 2)
    assert str(path) in str(caught.value)


def table(path: Path, rows: list[str | None], column: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({column: pa.array(rows, pa.string()), "id": list(range(len(rows)))}),
        path,
        row_group_size=2,
    )
    return path


# Files


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "text8"])
def test_names_of_text_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("abcd")
    assert len(load_text(tmp_path / name, Bytes(), 2).split("train")) == 1


def test_files_that_are_no_text(tmp_path: Path) -> None:
    refused(
        tmp_path / "a.csv",
        b"abcd",
        r"end in .txt or .txt.gz or .parquet, got .*rename it if it is plain text",
    )
    refused(
        tmp_path / "a.txt",
        b"",
        "hold a chunk of 2 bytes or more, got an empty file; give more text",
    )
    refused(tmp_path / "a.txt", b"a", "hold a chunk of 2 bytes or more, got 1 of 1 characters")
    refused(tmp_path / "a.txt", b"ab\0cd", "must be text, got binary data; give a text file")
    refused(tmp_path / "a.txt", b"PAR1\0", "must be text, got binary data")
    refused(tmp_path / "a.txt.gz", gzip.compress(b"abcd" * 500)[:-9], "undamaged gzip file")
    with pytest.raises(UserError, match=r"a file that exists, got .*nowhere.txt"):
        load_text(tmp_path / "nowhere.txt", Bytes(), 2)
    with pytest.raises(UserError, match=r"folder .* must hold parquet files, got none"):
        load_text(tmp_path, Bytes(), 2)
    (tmp_path / "a.txt").write_text("ab")
    with pytest.raises(
        UserError,
        match=r"data.valid must hold a chunk at least, got one of 2 states.*give a file by",
    ):
        load_text(tmp_path / "a.txt", Bytes(), 2)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xff", "byte 0xff, byte 1 of line 1"),
        (b"ab\r\nc\xe9d\n", "byte 0xe9, byte 2 of line 2"),
        ("ä\n😀".encode() + b"\x80", "byte 0x80, byte 5 of line 2"),
        (b"ab\n" * 5 + "aé".encode()[:-1], "byte 0xc3, byte 2 of line 6"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1, 2, 3])
def test_what_is_not_utf8_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, found: str, size: int
) -> None:
    monkeypatch.setattr("scud.data.text.files.PIECE", size)
    refused(tmp_path / "a.txt", data, f"must be UTF-8, got {found}; convert it")


def test_a_character_without_a_state_is_named_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scud.data.text.files.PIECE", 3)
    path = tmp_path / "a.txt"
    path.write_text("ab\nab\nabcd")
    with pytest.raises(
        UserError,
        match=f"line 3 of {re.escape(str(path))} must hold .* got 'c'; correct it, or train",
    ):
        load_text(path, Characters("ab\n"), 2)


# Tables


def test_a_parquet_file_is_read_row_by_row(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", ["the cat", "sat\r\nsat\n", "", "cats"])
    assert (
        content(load_text(path, Bytes(), 1, files={"valid": path})) == "the cat\nsat\nsat\n\ncats\n"
    )
    assert (
        content(load_text(path, vocabulary(), 1, files={"valid": path}))
        == "the cat\nsat\nsat\ncats\n"
    )


def test_a_long_row_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scud.data.text.files.PIECE", 4)
    path = table(tmp_path / "a.parquet", ["abcdefghij", "kl"])
    assert content(load_text(path, Bytes(), 1, files={"valid": path})) == "abcdefghij\nkl\n"


def test_a_folder_of_parquet_files_has_splits(tmp_path: Path) -> None:
    whole, folder = tmp_path / "set", tmp_path / "set" / "plain_text"
    table(folder / "train-00000-of-00002.parquet", ["ab", "cd"])
    table(folder / "train-00001-of-00002.parquet", ["ef"])
    table(folder / "test-00000-of-00001.parquet", ["ij"])
    table(tmp_path / "valid.parquet", ["kl"])
    source = load_text(whole, Bytes(), 3, files={"valid": tmp_path / "valid.parquet"})
    assert {name: content(source, name) for name in source.splits} == {
        "train": "ab\ncd\nef\n",
        "valid": "kl\n",
        "test": "ij\n",
    }
    other = load_text(tmp_path / "valid.parquet", Bytes(), 3, files={"test": whole, "valid": whole})
    assert content(other, "test") == "ij\n", "of a folder the split of that name is taken"
    assert content(other, "valid") == "ab\ncd\nef\n", (
        "or the one for training, if that is all there is"
    )


def test_tables_without_text(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", ["ab"], "words")
    with pytest.raises(
        UserError, match="have a column text of strings, got columns words, id; rename"
    ):
        load_text(path, Bytes(), 1)
    pq.write_table(pa.table({"text": [1, 2]}), path)
    with pytest.raises(
        UserError, match="have a column text of strings, got a column text of int64"
    ):
        load_text(path, Bytes(), 1)
    with pytest.raises(
        UserError, match=r"text in .*a.parquet must be there in every row, got 1 rows without"
    ):
        load_text(table(path, ["ab", None, "cd"]), Bytes(), 1)


def test_tables_that_are_not_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    raw = pa.array([b"abc", b"a\xffb"], pa.binary())
    text = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": text}), path)
    with pytest.raises(UserError, match="must be UTF-8, got a row with invalid start byte; write"):
        load_text(path, Bytes(), 1)
    monkeypatch.setattr("scud.data.text.files.ROW", 10)
    with pytest.raises(UserError, match="must have rows of at most 10 bytes, got one of 12"):
        load_text(table(path, ["abc", "a" * 12]), Bytes(), 1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="must be an undamaged parquet file"):
        load_text(path, Bytes(), 1)


def test_a_table_that_is_much_larger_than_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scud.data.tables._BATCH", 1000)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a" * 1_000_000]}), path, compression="zstd")
    with pytest.raises(
        UserError, match=r"undamaged parquet file, got an error \(1,000,0.. bytes packed into"
    ):
        load_text(path, Bytes(), 1)
    rows = [f"{n * 7919 % 10007:x}" * 40 for n in range(100)]
    pq.write_table(pa.table({"text": rows}), path, compression="none")
    assert content(load_text(path, Bytes(), 1, files={"valid": path})) == "\n".join(rows) + "\n"


# Files of other kinds


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_utf16_is_told_as_such(tmp_path: Path, encoding: str) -> None:
    data = "the cat sat\n".encode(encoding)
    message = "must be text in UTF-8, got UTF-16 or UTF-32; convert it by: iconv"
    for name, content in (("a.txt", data), ("a.txt.gz", gzip.compress(data))):
        refused(tmp_path / name, content, message)


def test_pipes_and_links_in_a_circle(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe.txt", tmp_path / "loop.txt"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    with pytest.raises(UserError, match="must name a plain file, got a pipe or device"):
        load_text(pipe, Bytes(), 1)
    with pytest.raises(UserError, match="must be a path that can be followed"):
        load_text(loop, Bytes(), 1)
    with pytest.raises(UserError, match=r"data.tokens must be a path that can be followed"):
        TextOptions(train=pipe, tokens=str(loop))


def test_a_line_that_fills_the_memory_is_refused_for_vocabularies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scud.data.text.files.PIECE", 16)
    monkeypatch.setattr("scud.data.text.files.LINE", 40)
    path = tmp_path / "a.txt"
    path.write_text("the cat\n" * 9 + "cat " * 30)
    assert len(load_text(path, Bytes(), 2).split("train")) > 50
    with pytest.raises(UserError, match=r"fewer characters .* got 40 and more in line 10; break"):
        load_text(path, vocabulary(), 2)


# The hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that `datasets` can load, with a cache of its own and no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield tmp_path / "wiki"
    datasets.enable_progress_bars()


def test_a_data_set_of_the_hub(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(hub / "train-00000-of-00001.parquet", ["ab", "cd"])
    table(hub / "validation-00000-of-00001.parquet", ["ef"])
    source = load_hub_text(str(hub), Bytes(), 3)
    assert source.name == "wiki"
    assert {name: content(source, name) for name in source.splits} == {
        "train": "ab\ncd\n",
        "valid": "ef\n",
    }
    monkeypatch.setattr("scud.data.text.chunks.write_text", None)
    assert content(load_hub_text(str(hub), Bytes(), 3)) == "ab\ncd\n", (
        "it is read again only if it changed"
    )


def test_names_of_data_sets(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(hub / "train-00000-of-00001.parquet", ["abcd"])
    monkeypatch.setitem(load_hub_text.__globals__["HUB_NAMES"], "text8", str(hub))
    source = TextOptions(hub="text8", tokens="bytes", length=2).read()
    assert (source.name, len(source.split("train"))) == ("text8", 1)
    with pytest.raises(UserError, match=r"data.train and data.hub must not be given together"):
        TextOptions(hub="text8", train=hub)
    with pytest.raises(
        UserError, match=r"data.hub must name a data set that can be loaded, got nobody/nothing"
    ):
        load_hub_text("nobody/nothing", Bytes(), 2)
