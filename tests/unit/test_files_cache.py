"""The cache: one process writes an entry, a damaged one is made again, and a disk that is full leaves nothing."""

import errno
import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.store import StoreOptions, build_stores
from scud.data.text.store import TextSet
from scud.data.text.tokenizers import Characters
from scud.errors import UserError
from scud.files import cache as cache_module
from scud.files import checksums, locks
from scud.files.cache import cached_folder, default_cache
from tests.unit.sequences import save

PROTEIN = find_alphabet("protein")
FORK = multiprocessing.get_context("fork")


def two_files(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"second" * 100)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
        return
    changed = {
        "truncated": content[:-1],
        "emptied": b"",
        "longer": content + b"x",
        "flipped": bytes([content[0] ^ 1]) + content[1:],
        "flipped at the end": content[:-1] + bytes([content[-1] ^ 64]),
        "other JSON": b"[]",
        "other object": b"{}",
    }
    path.write_bytes(changed[kind])


KINDS = [
    "missing",
    "truncated",
    "emptied",
    "longer",
    "flipped",
    "flipped at the end",
    "other JSON",
    "other object",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_of_every_file_is_mended(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, ["ACDEFGHIKL" * 3, "MNPQRS", "ACD", "WWWWYY", "ACX"] * 4)
    options = StoreOptions(valid_share=0.6)

    def stores() -> dict[str, str]:
        return {
            name: part.digest()
            for name, part in build_stores(path, PROTEIN, options, tmp_path / "c").items()
        }

    expected = stores()
    assert set(expected) == {"train", "valid"}
    (entry,) = (tmp_path / "c" / "sequences").iterdir()
    contents = {file: file.read_bytes() for file in entry.rglob("*") if file.is_file()}
    assert len(contents) == 11
    for file in contents:
        damage(file, kind)
        with pytest.warns(UserWarning, match=r"some\.fasta cannot be used and is made again"):
            assert stores() == expected
        assert {file: file.read_bytes() for file in contents} == contents
    assert names(entry.parent) == [entry.name]


def test_a_split_or_all_checksums_that_are_missing(tmp_path: Path) -> None:
    """And an entry of earlier versions, which had none, and a file in place of an entry."""
    folder = cached_folder("kind", [1], two_files, tmp_path)

    def without_part() -> None:
        (folder / "part" / "a").unlink()
        (folder / "part").rmdir()

    def a_file() -> None:
        without_part()
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.write_text("")

    changes: list[Callable[[], None]] = [
        without_part,
        (folder / checksums.NAME).unlink,
        lambda: (folder / "more").write_text(""),
        a_file,
    ]
    for change in changes:
        change()
        with pytest.warns(UserWarning, match="the cache's copy of things cannot be used"):
            assert cached_folder("kind", [1], two_files, tmp_path, what="things") == folder
        assert names(folder) == ["b", checksums.NAME, "part"]


def test_an_undamaged_entry_is_read_without_a_lock(tmp_path: Path) -> None:
    folder = cached_folder("kind", [1], two_files, tmp_path)
    with locks.holding(folder.with_name(f".{folder.name}.lock")):
        assert cached_folder("kind", [1], two_files, tmp_path) == folder


def test_large_files_are_compared_in_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "WHOLE", 100)
    monkeypatch.setattr(checksums, "BLOCKS", 4)
    monkeypatch.setattr(checksums, "BLOCK", 10)
    folder = cached_folder("kind", [1], two_files, tmp_path)
    content = (folder / "b").read_bytes()
    for place, seen in [(0, True), (599, True), (300, False), (200, True)]:
        changed = bytearray(content)
        changed[place] ^= 1
        (folder / "b").write_bytes(changed)
        assert (checksums.fault(folder) == "b has changed") == seen
    (folder / "b").write_bytes(content)
    assert checksums.fault(folder) is None


# Several processes


def slow_writer(folder: Path, started: Any) -> None:
    started.set()
    (folder / "who").write_text(str(os.getpid()))
    time.sleep(0.5)


def one_of_several(root: Path, started: Any, results: Any) -> None:
    folder = cached_folder("kind", [1], lambda new: slow_writer(new, started), root)
    results.put((os.getpid(), (folder / "who").read_text()))


def test_processes_that_want_one_entry_share_it(tmp_path: Path) -> None:
    started, results = FORK.Event(), FORK.Queue()
    processes = [
        FORK.Process(target=one_of_several, args=(tmp_path, started, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=20) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({who for _, who in found}) == 1, "one of them wrote it"
    assert names(tmp_path / "kind") == [cached_folder("kind", [1], two_files, tmp_path).name]


def test_who_waits_says_for_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, results = FORK.Event(), FORK.Queue()
    process = FORK.Process(target=one_of_several, args=(tmp_path, started, results))
    process.start()
    started.wait(20)
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with pytest.warns(UserWarning, match=f"waiting for process {process.pid} .*to write things"):
        folder = cached_folder("kind", [1], two_files, tmp_path, what="things")
    assert (folder / "who").read_text() == str(process.pid)
    process.join()


def for_ever(root: Path, started: Any) -> None:
    def write(folder: Path) -> None:
        two_files(folder)
        started.set()
        time.sleep(60)

    cached_folder("kind", [2], write, root)


def test_what_a_killed_process_left_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    started = FORK.Event()
    process = FORK.Process(target=for_ever, args=(tmp_path, started))
    process.start()
    assert started.wait(20)
    earlier = tmp_path / "kind" / f".{'a' * 32}.{'b' * 8}.tmp"  # as versions without locks left it
    (earlier / "train").mkdir(parents=True)
    folder = cached_folder("kind", [1], two_files, tmp_path)
    beside = [name for name in names(tmp_path / "kind") if name != folder.name]
    assert len(beside) == 2, "the lock and the temporary folder of the living one"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [name for name in names(tmp_path / "kind") if name != folder.name] == beside
    other = cached_folder("kind", [3], two_files, tmp_path)
    assert names(tmp_path / "kind") == sorted([folder.name, other.name])


def test_without_locks_the_cache_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "fcntl", None)

    def overtaken(folder: Path) -> None:
        two_files(folder)
        monkeypatch.setattr(cache_module, "_temporary_of", lambda path: path.with_name(".x.tmp"))
        cached_folder("kind", [1], two_files, tmp_path)

    folder = cached_folder("kind", [1], overtaken, tmp_path)
    assert names(tmp_path / "kind") == [folder.name]
    assert checksums.fault(folder) is None


# Disks


class _Full:
    """Makes the N-th write of any file that is opened from now on fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.left, self.code = 0, code
        real = io.open
        full = self

        class File(io.FileIO):
            def write(self, data: Any, /) -> int:
                full.left -= 1
                if full.left == 0:
                    raise OSError(full.code, os.strerror(full.code))
                return super().write(data)

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode not in ("wb", "ab", "w"):
                return real(file, mode, *arguments, **options)
            raw = io.BufferedWriter(File(file, mode.replace("b", "") + "b"))
            return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")

        monkeypatch.setattr(io, "open", opened)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("kind", ["sequences", "text"])
def test_a_disk_that_is_full_at_any_write_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    root = tmp_path / "c"
    path = save(tmp_path, ["ACDEFGHIKL" * 3, "MNPQRS", "ACD", "WWWWYY"])

    def read() -> int:
        if kind == "sequences":
            return len(build_stores(path, PROTEIN, StoreOptions(valid_share=0.3), root)["train"])
        return len(text_of(path, root))

    full, refused = _Full(monkeypatch, code), 0
    while True:
        full.left = refused + 1
        try:
            count = read()
        except UserError as error:
            assert "the cache must be a folder with room to write" in str(error)  # noqa: PT017
            assert kind in str(error)  # noqa: PT017
            assert os.strerror(code) in str(error)  # noqa: PT017
            assert names(root / kind) == []
            refused += 1
            continue
        break
    assert refused >= 3
    assert count > 0
    monkeypatch.undo()
    assert checksums.fault(next((root / kind).iterdir())) is None


def text_of(path: Path, root: Path) -> TextSet:
    from scud.data.text.chunks import read_text

    return read_text(path, Characters("".join(sorted(set(path.read_text())))), 4, root)


def test_a_disk_that_refuses_what_it_took_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(
        UserError, match=r"\(Input/output error\) for things of more than 605 bytes"
    ):
        cached_folder("kind", [1], two_files, tmp_path, what="things")
    assert names(tmp_path / "kind") == []


def test_without_a_home_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCUD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(UserError, match="SCUD_CACHE"):
        default_cache()


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCUD_CACHE", "~/c")
    assert default_cache() == tmp_path / "c"


@pytest.mark.parametrize("place", ["a file", "below a file", "link to itself", "a long name"])
def test_places_that_are_no_cache(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    root = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "c",
        "link to itself": tmp_path / "link",
        "a long name": tmp_path / ("x" * 300),
    }[place]
    with pytest.raises(UserError, match=r"the cache must be a folder .*SCUD_CACHE"):
        cached_folder("kind", [1], two_files, root)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_text_tells_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the quick brown fox jumps over the lazy dog")
    whole = text_of(path, tmp_path)
    assert whole.digest() == text_of(path, tmp_path / "other").digest()
    assert whole.part(3).digest() == whole.part(3).digest() != whole.digest()
    path.write_text("eht quick brown fox jumps over the lazy dog")
    assert text_of(path, tmp_path).digest() != whole.digest()


def test_checksums_of_another_shape_are_damage(tmp_path: Path) -> None:
    folder = cached_folder("kind", [1], two_files, tmp_path)
    content = json.loads((folder / checksums.NAME).read_text())
    content["files"]["b"]["size"] += 1
    (folder / checksums.NAME).write_text(json.dumps(content))
    assert checksums.fault(folder) == f"{checksums.NAME} has changed"
    with pytest.raises(UserError, match="has changed"):
        checksums.recorded_digest(folder, "b")
