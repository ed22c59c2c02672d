"""The digest of a large file is noted, and found again, as long as nothing says that the file has changed."""

import json
import os
from pathlib import Path

import pytest

from scud.errors import UserError
from scud.files import digests
from scud.files.digests import file_digest


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed; all but empty ones are large, and have settled at once."""
    found: list[Path] = []
    true = digests.hashed

    def hash_file(file: Path) -> str:
        found.append(file)
        return true(file)

    monkeypatch.setattr(digests, "hashed", hash_file)
    monkeypatch.setattr(digests, "NOTED", 1)
    monkeypatch.setattr(digests, "SETTLED", -(10**12))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_a_large_file_is_hashed_once(file: Path, tmp_path: Path, hashed: list[Path]) -> None:
    first, again = (file_digest(file, tmp_path / "cache") for _ in range(2))
    assert first == again
    assert hashed == [file]
    assert file_digest(file, tmp_path / "other") == first
    assert len(hashed) == 2


def test_a_file_that_changed_is_hashed_again(
    file: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    """With as many bytes, and the time of its last change put back, as a program may do that keeps times."""
    first, times = file_digest(file, tmp_path), file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = file_digest(file, tmp_path)
    other = tmp_path / "beside"
    other.write_bytes(b"content")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert first == file_digest(file, tmp_path) != second
    assert len(hashed) == 3


def test_a_damaged_note_is_not_believed(file: Path, tmp_path: Path, hashed: list[Path]) -> None:
    first = file_digest(file, tmp_path)
    (note,) = (tmp_path / "digests").iterdir()
    content = json.loads(note.read_text())
    for damaged in (json.dumps(content | {"digest": "0" * 128}), "[]", "{", '{"digest": 3}'):
        note.write_text(damaged)
        assert file_digest(file, tmp_path) == first
    assert len(hashed) == 5


def test_small_files_and_files_that_change_are_not_noted(
    file: Path, tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED", 10**12)
    file_digest(file, tmp_path)
    monkeypatch.setattr(digests, "SETTLED", -(10**12))
    monkeypatch.setattr(digests, "NOTED", 8)
    file_digest(file, tmp_path)
    assert not (tmp_path / "digests").exists()
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(
    file: Path, tmp_path: Path, hashed: list[Path]
) -> None:
    first, again = (file_digest(file, file) for _ in range(2))
    assert first == again
    assert len(hashed) == 2
    with pytest.raises(UserError, match="must be readable, got an error"):
        file_digest(tmp_path / "none", tmp_path)
