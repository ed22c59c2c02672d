"""One writer at a time: a lock that the system lets go of when its process ends, however it ends.

The lock is `flock` on a file `.lock`, which names its holder while it is held. Linux hands `flock` on to the
server of a network file system (NFS since kernel 2.6.12); where a file system has no locks, or Python has none
for the system (Windows), `locked` says so in a warning and goes on. Readers take no lock.
"""

import errno
import os
import socket
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scud.errors import fail, printable
from scud.files.writing import not_written

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"
"""Of the file in a folder that is locked."""

PATIENCE = 3.0
"""Seconds that another process is waited for without a word."""

_PAUSE = 0.1

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What a file system without locks says."""

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A lock is a plain file, neither a link to one of somebody else's nor a pipe that is waited for."""


@contextmanager
def locked(folder: Path, argument: str = "out", *, name: str = NAME) -> Iterator[None]:
    """Hold the lock of an existing folder.

    Args:
        folder: the folder.
        argument: what it is called in messages.
        name: of the file that is locked, where it stands for one file of the folder.

    Raises:
        UserError: another process holds it, or the folder cannot be written to.
    """
    file = folder / name
    try:
        descriptor = _acquired(file, None)
    except BlockingIOError as error:
        rule, found = "not be written by another process", f"{folder}, which {_holder(file)} writes"
        remedy = "wait until it ends, or choose another folder"
        raise fail(argument, rule, found, remedy) from error
    except OSError as error:
        raise not_written(folder, error) from error
    if descriptor is None:
        _say(f"{folder} cannot be locked here: see that no second process writes to it")
    try:
        yield
    finally:
        _let_go(file, descriptor)


def is_lock(path: Path) -> bool:
    """Whether a file is called as locks are: `.lock`, or .NAME.lock of a file."""
    return path.name.startswith(".") and path.name.endswith(NAME)


def check_unlocked(folder: Path, argument: str = "out") -> None:
    """Raise `UserError` if another process holds the lock of a folder; nothing is written where there is none."""
    if fcntl is not None and (folder / NAME).exists():
        with locked(folder, argument):
            pass


@contextmanager
def holding(file: Path, waits_for: str | None = None) -> Iterator[bool]:
    """Hold the lock that is a file of this name, which is removed afterwards; whether it is held, or the system has no locks.

    Args:
        file: the name, in a folder that exists.
        waits_for: what another process that holds it is waited for, as a warning says after some seconds;
            None: it is not waited for.

    Raises:
        BlockingIOError: another process holds it, and is not waited for.
        OSError: the file cannot be made.
    """
    descriptor = _acquired(file, waits_for)
    try:
        yield descriptor is not None
    finally:
        _let_go(file, descriptor)


def _acquired(file: Path, waits_for: str | None) -> int | None:
    """An open file whose lock is held; None where there are no locks. Arguments and errors as in `holding`."""
    if fcntl is None:
        return None
    since = time.monotonic()
    said = False
    while True:
        descriptor = _opened(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if waits_for is None:
                raise
            if not said and time.monotonic() - since >= PATIENCE:
                said = True
                _say(f"waiting for {_holder(file)}, which holds {waits_for}")
            time.sleep(_PAUSE)
            continue
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            raise
        if _is_at(descriptor, file):
            _name_holder(descriptor)
            return descriptor
        os.close(descriptor)  # who held it has just removed it: the file of that name is another


def _opened(file: Path) -> int:
    """A lock file, made if it is missing; one that another user has left behind can be locked, but not written to."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)
    except PermissionError:
        if not file.exists():
            raise
        descriptor = os.open(file, os.O_RDONLY | _PLAIN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{file.name} is no plain file")
    return descriptor


def _let_go(file: Path, descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(
            OSError
        ):  # another user's file in a folder where only its owner may remove it
            file.unlink(missing_ok=True)
        os.close(descriptor)


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:  # it has been removed
        return False


def _name_holder(descriptor: int) -> None:
    """Write into a lock who holds it; on a full disk it is held without a name."""
    with suppress(OSError):
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{_name()}\n".encode())


def _name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(file: Path) -> str:
    """Who holds a lock, as far as it says so."""
    try:
        with file.open("rb") as stream:
            name = stream.read(200).decode(errors="replace").strip()
    except OSError:  # it has just been let go, or others may not read it
        name = ""
    return {"": "another process", _name(): f"{_name()}, this one,"}.get(name, name)


def _say(line: str) -> None:
    warnings.warn(printable(line), stacklevel=4)
