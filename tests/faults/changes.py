"""Every change of the file system below a folder, so that a process can be killed, or its disk be full, before any of them.

Python tells an audit hook of each file that it opens to write, each rename, each removal, each folder that is made; what scud
writes goes through the file objects of `scud.files.writing`. An audit hook stays for good: a `Watch` belongs in a
forked child. What libraries in C write by themselves is not seen here (`tests.faults.traced` sees it).
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scud.files.writing import _File

WRITES = {"open", "write", "fsync", "mkdir", "truncate"}
"""The changes that need room on the disk."""

_PLACES = {
    "os.rename": ("rename", 1, 3),
    "os.remove": ("remove", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.rmdir": ("rmdir", 0, 1),
    "os.truncate": ("truncate", 0, None),
    "os.link": ("link", 1, 3),
    "os.symlink": ("symlink", 1, 2),
}
"""Of audit events: what it is called here, and which arguments are the path and the folder that it is relative to."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Change:
    """A change that is about to be made.

    Attributes:
        number: counted from 1.
        kind: open, write, fsync, rename, remove, mkdir, rmdir, truncate, link or symlink.
        path: of what.
        half: makes the change half way, where something is written.
    """

    number: int
    kind: str
    path: Path
    half: Callable[[], object]


Act = Callable[[Change], None]
"""Called before a change."""


class Watch:
    """Calls `act` before every change below a folder, from now on."""

    def __init__(self, root: Path, act: Act) -> None:
        self.root, self.act, self.number = root, act, 0
        sys.addaudithook(self._heard)
        _count_writes(self)
        fsync, write = os.fsync, os.write

        def fsync_counted(descriptor: int) -> None:
            self.change("fsync", _path_of(descriptor))
            fsync(descriptor)

        def write_counted(descriptor: int, data: Any) -> int:
            self.change("write", _path_of(descriptor))
            return write(descriptor, data)

        os.fsync, os.write = fsync_counted, write_counted

    def change(self, kind: str, path: Path, half: Callable[[], object] = lambda: None) -> None:
        if self.root in path.parents:
            self.number += 1
            self.act(Change(self.number, kind, path, half))

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and flags & _WRITING:
                self.change("open", Path(os.fsdecode(path)).absolute())
        elif event in _PLACES:
            kind, place, folder = _PLACES[event]
            self.change(kind, _absolute(arguments[place], arguments[folder] if folder else None))


def _absolute(path: Any, folder: int | None) -> Path:
    """A path as the system is given it: an open file, or relative to an open folder or to the current one."""
    if isinstance(path, int):
        return _path_of(path)
    name = Path(os.fsdecode(path))
    return name.absolute() if folder is None or folder < 0 else _path_of(folder) / name


def _path_of(descriptor: int) -> Path:
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return Path("/")


def _count_writes(watch: Watch) -> None:
    """Put a counting file beneath scud's own, which so meets what the system would tell it."""

    class Counted(io.FileIO):
        target: Path

        def write(self, data: Any, /) -> int:
            content = bytes(data)
            half = content[: len(content) // 2]
            watch.change("write", self.target, lambda: io.FileIO.write(self, half))
            return super().write(content)

    _File.__bases__ = (Counted,)


def kill_before(last: int) -> Act:
    """Kill the process before a change; of what is written, half is written first."""

    def act(change: Change) -> None:
        if change.number == last:
            change.half()
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def kill_before_rename(name: str, times: int) -> Act:
    """Kill the process before something gets a name for the N-th time."""
    seen = 0

    def act(change: Change) -> None:
        nonlocal seen
        if change.kind == "rename" and change.path.name == name:
            seen += 1
            if seen == times:
                os.kill(os.getpid(), signal.SIGKILL)

    return act


def full_from(first: int) -> Act:
    """A disk that has no room left from a change on; what needs none still goes through."""

    def act(change: Change) -> None:
        if change.number >= first and change.kind in WRITES:
            if change.number == first:
                change.half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(change.path))

    return act


def keep(seen: list[str]) -> Act:
    """Keep what each change was."""
    return lambda change: seen.append(f"{change.kind} {change.path}")
