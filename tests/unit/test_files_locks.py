"""Locks: who else writes is named, and a lock is gone when it is let go."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from scud.errors import UserError
from scud.files import locks
from scud.files.locks import holding, locked


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(UserError, match=f"out must not be written .*process {os.getpid()} on"):
            locked(tmp_path).__enter__()
        with pytest.raises(BlockingIOError):
            holding(tmp_path / locks.NAME).__enter__()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [locks.NAME]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_keep_a_lock_from_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with holding(tmp_path / "lock") as held:
        assert held
        (tmp_path / "lock").rename(tmp_path / locks.NAME)
        with pytest.raises(UserError, match="which another process writes"):
            locked(tmp_path).__enter__()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere must be written"):
        locked(tmp_path / "nowhere").__enter__()


def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(UserWarning, match="cannot be locked"), locked(tmp_path):
        pass
    with holding(tmp_path / "lock") as held:
        assert not held


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    for make in (
        lambda file: file.symlink_to(tmp_path / "victim"),
        lambda file: os.mkfifo(file),
        lambda file: file.mkdir(),
    ):
        folder = tmp_path / "run"
        folder.mkdir()
        make(folder / locks.NAME)
        with pytest.raises(UserError, match="must be written"), locks.locked(folder):
            pass
        assert (tmp_path / "victim").read_text() == "mine"
        shutil.rmtree(folder)
