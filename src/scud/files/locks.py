"""One writer at a time: a lock that the system lets go of when its process ends, however it ends.

The lock is `flock` on a file `.lock`, which names its holder while it is held. Linux hands `flock` on to the
server of a network file system (NFS since kernel 2.6.12); where a file system has no locks, or Python has none
for the system (Windows), `locked` says so in a warning and goes on. Readers take no lock.
"""

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scud.errors import UserError, fail
from scud.files.writing import not_written

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"
"""Of the file in a folder that is locked."""


@contextmanager
def locked(
    folder: Path, argument: str = "out", *, wait: bool = False, name: str = NAME
) -> Iterator[None]:
    """Hold the lock of an existing folder.

    Args:
        folder: the folder.
        argument: what it is called in messages.
        wait: whether to wait for another process that holds it.
        name: of the file that is locked, where it stands for one file of the folder.

    Raises:
        UserError: another process holds it, or the folder cannot be written to.
    """
    file = folder / name
    descriptor = _acquired(file, argument, wait)
    try:
        yield
    finally:
        if descriptor is not None:
            file.unlink(missing_ok=True)
            os.close(descriptor)


def check_unlocked(folder: Path, argument: str = "out") -> None:
    """Raise `UserError` if another process holds the lock of a folder; nothing is written where there is none."""
    if fcntl is not None and (folder / NAME).exists():
        with locked(folder, argument):
            pass


def _acquired(file: Path, argument: str, wait: bool) -> int | None:
    """An open file whose lock is held; None where there are no locks."""
    if fcntl is None:
        _say_unlocked(file.parent, "this system has no such locks")
        return None
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise not_written(file.parent, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise _held(file, descriptor, argument) from error
        except OSError as error:
            os.close(descriptor)
            _say_unlocked(file.parent, error.strerror)
            return None
        if _is_at(descriptor, file):
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return descriptor
        os.close(descriptor)  # who held it has just removed it: the file of that name is another


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _held(file: Path, descriptor: int, argument: str) -> UserError:
    holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
    os.close(descriptor)
    rule, remedy = (
        "not be written by another process",
        "wait until it ends, or choose another folder",
    )
    return fail(argument, rule, f"{file.parent}, which {holder} writes", remedy)


def _say_unlocked(folder: Path, reason: str | None) -> None:
    warnings.warn(
        f"{folder} cannot be locked ({reason}): see that no second process writes to it",
        stacklevel=4,
    )
