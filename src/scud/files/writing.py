"""Writing files so that whatever happens half way, a full disk or a power cut, what was there before is there still.

Everything that scud keeps is written here, through Python's own file objects. A file is written beside its final place under a
temporary name, brought to the disk, and renamed. What the disk refuses is a `UserError` that names the file.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from scud.errors import UserError, fail

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp", re.DOTALL)
_LONGEST = 230
_ROOM = "make room, or choose a place with more"


class _File(io.FileIO):
    """An open file that says, of what the disk refuses, which file that was and how much was to be written."""

    def __init__(self, path: Path, mode: str, target: Path) -> None:
        self.target, self.size = target, 0
        super().__init__(path, mode)

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError as error:
            raise not_written(self.target, error, self.size + len(data)) from error
        self.size += written
        return written


def not_written(path: Path, error: OSError, size: int = 0) -> UserError:
    """The error of a file that cannot be written, of which so many bytes were to be."""
    what = f"an error ({error.strerror or error})"
    needs = f", which needs {size:,} bytes and more" if size else ""
    return fail(str(path), f"be written{needs}", what, _ROOM)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path`, whole and on the disk, if the block ends without an error.

    Raises:
        UserError: the disk is full, or the place cannot be written to. What was there is there still.
    """
    temporary = temporary_of(path)
    try:
        raw = _File(temporary, "wb", path)
    except OSError as error:
        raise not_written(path, error) from error
    try:
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            _sync(raw.fileno(), path)
        try:
            temporary.replace(path)
        except OSError as error:
            raise not_written(path, error) from error
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_text(path: Path) -> Iterator[TextIO]:
    """Like `writing`, for text: UTF-8 with line ends as they are given."""
    with writing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # which writes what it holds, and leaves the file to `writing`


def write_text(path: Path, content: str) -> None:
    """Write a text in place of a file; errors as in `writing`."""
    with writing(path) as file:
        file.write(content.encode())


@contextmanager
def appending(path: Path) -> Iterator[TextIO]:
    """A text file to add to, made if it is missing; errors as in `writing`, but what was added before them may stay."""
    try:
        raw = _File(path, "ab", path)
    except OSError as error:
        raise not_written(path, error) from error
    with io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", newline="") as text:
        yield text


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        UserError: it cannot be made, or is something else.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        remedy = "choose another place"
        raise fail(str(path), "be a folder that can be made", error.strerror, remedy) from error


def sync_file(path: Path) -> None:
    """Bring what was written to a file to the disk, so that it survives a power cut."""
    try:
        file = path.open("rb+")  # Windows brings nothing to the disk that may only be read
    except OSError as error:
        raise not_written(path, error) from error
    with file:
        _sync(file.fileno(), path)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk; where a system cannot do so for folders, it does so in its own time."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a folder that can be written to but not read, or Windows
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems have no such call for folders
        return
    finally:
        os.close(descriptor)


def _sync(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise not_written(path, error) from error


def temporary_of(path: Path) -> Path:
    """The temporary name of a file that is being written; no two processes of one machine have the same."""
    return path.with_name(f".{short(path.name)}.{os.getpid()}.tmp")


def short(name: str) -> str:
    """A name to which some letters can be added: most names as they are."""
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    return hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has a name as `temporary_of` and the cache give them."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_temporaries(folder: Path, *patterns: str) -> None:
    """Remove the temporary files that a process which was killed has left of files in a folder; called by who has their lock.

    Args:
        folder: the folder, there or not.
        patterns: names of the files, in which * stands for anything.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and any(fnmatchcase(found[1], pattern) for pattern in patterns):
            path.unlink(missing_ok=True)
