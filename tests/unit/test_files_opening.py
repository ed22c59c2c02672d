"""Files that others name, and files that are written: what is refused, and what is there afterwards."""

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from scud.errors import UserError, fail, printable, shown
from scud.files import (
    absolute,
    appending,
    check_file,
    is_file,
    is_folder,
    make_folder,
    parse_json,
    read_bytes,
    read_text,
    write_text,
    writing,
    writing_text,
)
from scud.files.structured import MOST_PARTS
from scud.files.writing import remove_temporaries


def places(folder: Path) -> dict[str, Path]:
    """Paths that are no plain files."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "nowhere").symlink_to("missing")
    names = ("pipe", "folder", "loop", "nowhere", "missing", "file/below", "x" * 300, "a\0b")
    (folder / "file").write_text("content")
    return {name: folder / name for name in names} | {"device": Path("/dev/zero")}


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    for path in places(tmp_path).values():
        for read in (check_file, read_bytes, read_text):
            with pytest.raises(UserError, match=r"^data must .*; \w"):
                read(path, "a table", argument="data")  # type: ignore[operator]
    (tmp_path / "link").symlink_to("file")
    check_file(tmp_path / "link", "a table")
    assert read_text(tmp_path / "link", "a table") == "content"
    assert is_file(tmp_path / "link")
    assert is_folder(tmp_path / "folder")
    assert not is_file(tmp_path / "missing")


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, "a table", most=5) == b"12345"
    with pytest.raises(UserError, match=r"be a table of at most 4 bytes, got .* of 5 bytes"):
        read_bytes(path, "a table", most=4)
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"in UTF-8, got .* with byte 0xff at 2"):
        read_text(path, "a table")


@pytest.mark.parametrize("path", ["~nosuchuser/x", "loop/x"])
def test_paths_that_lead_nowhere_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"^data\.train must "):
        absolute(Path(path), "data.train")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_are_whole_and_have_the_rights_that_the_user_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with writing(tmp_path / "bytes") as file:
            file.write(b"abc")
        with writing_text(tmp_path / "text") as text:
            text.write("é\n")
        write_text(tmp_path / "both", "ab")
        with appending(tmp_path / "log") as log:
            log.write("one\n")
    finally:
        os.umask(before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "bytes": b"abc",
        "text": "é\n".encode(),
        "both": b"ab",
        "log": b"one\n",
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


def test_a_disk_that_refuses_is_told_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"model must be written, got an error \(No space left"):
        write_text(path, "after")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def test_places_that_cannot_be_written_to_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (
        tmp_path / "file" / "below",
        tmp_path / "missing" / "file",
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(UserError, match=r"must be written"):
            write_text(path, "after")
    with pytest.raises(UserError, match="be a folder that can be made"):
        make_folder(tmp_path / "file" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_the_temporary_files_of_a_file_are_removed(tmp_path: Path) -> None:
    names = {".a.csv.12.tmp", ".a.csv.13.tmp", ".a.csv.gz.12.tmp", ".b.csv.12.tmp", "a.csv"}
    for name in names:
        (tmp_path / name).write_text("")
    remove_temporaries(tmp_path, "a.csv")
    names -= {".a.csv.12.tmp", ".a.csv.13.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == names
    remove_temporaries(tmp_path, "a.*")
    assert {path.name for path in tmp_path.iterdir()} == names - {".a.csv.gz.12.tmp"}
    remove_temporaries(tmp_path / "nowhere", "a.*")


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".csv")
    write_text(path, "content")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "be JSON"),
        ("[1]", "hold an object of JSON, got list"),
        ("[" * 200_000, "be JSON"),
        ('{"a": 1, "a": 2}', "stands twice in one object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ('{"a": ' + "9" * 5000 + "}", "be JSON"),
        ('{"a": [' + "[]," * MOST_PARTS + "[]]}", "have at most 4,000,000 parts"),
    ],
    ids=["empty", "list", "deep", "twice", "nan", "infinity", "long", "wide"],
)
def test_json_is_one_object_of_plain_values(text: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        parse_json(text, "file", "write it again")
    assert parse_json('{"a": [1, {"b": null}]}', "file", "") == {"a": [1, {"b": None}]}


def test_messages_are_one_line_of_printable_characters() -> None:
    bomb: list[object] = [0] * 9
    for _ in range(9):
        bomb = [bomb] * 9
    long = fail("x", "be short", "y" * 10_000, "cut it")
    assert len(str(long)) < 400
    assert len(shown(bomb)) < 2_000
    assert shown(10**5000) == "a number of more than 300 digits"
    assert str(fail("a\x1b[31m", "be", "\n\x07é\u202e\udc80", "so")) == (
        r"a\x1b[31m must be, got \n\x07é\u202e\udc80; so"
    )
    assert printable("plain é 水") == "plain é 水"
