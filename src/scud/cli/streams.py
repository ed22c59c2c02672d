"""Output that never costs a result: whoever reads it may leave, its disk may be full, and its alphabet may be small.

What cannot be written any more is dropped, and the command goes on to write its files; its exit status tells in the end.
Characters that a terminal's encoding lacks are written as escapes.
"""

import errno
import io
import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from scud.errors import printable

UNREAD = 128 + 13
"""Exit status where nobody read what was printed, as of a program that SIGPIPE ended."""

UNWRITTEN = 1
"""Exit status where what was printed could not be written."""


class Outlet(io.RawIOBase):
    """What is written to a file descriptor, until that fails once; the rest is dropped.

    Attributes:
        error: why it failed, or None.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        while self.error is None:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:  # another program has made the pipe one that does not wait
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)


class Outlets:
    """The two streams of a command, and what became of them."""

    def __init__(self) -> None:
        self.out: Outlet | None = None

    def status(self, status: int) -> int:
        """The exit status of a command that ended with this one."""
        if sys.stdout is not None:
            sys.stdout.flush()
        if status or self.out is None or self.out.error is None:
            return status
        if self.out.error.errno == errno.EPIPE:
            return UNREAD
        reason = self.out.error.strerror
        print(f"scud: not all of the output could be printed ({reason})", file=sys.stderr)
        return UNWRITTEN


@contextmanager
def guarded() -> Iterator[Outlets]:
    """Standard output and error as such streams, within the block; those that a program has put in their place stay."""
    before, outlets = (sys.stdout, sys.stderr), Outlets()
    format_of_warnings = warnings.formatwarning
    warnings.formatwarning = in_one_line
    out, errors = sys.__stdout__, sys.__stderr__  # None where they are closed
    if out is not None and sys.stdout is out:
        outlets.out = Outlet(out.fileno())
        sys.stdout = _text(outlets.out, out)
    if errors is not None and sys.stderr is errors:
        sys.stderr = _text(Outlet(errors.fileno()), errors)
    try:
        yield outlets
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
        warnings.formatwarning = format_of_warnings


def in_one_line(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as commands show it, without the place in the code."""
    return f"scud: {printable(str(message))}\n"


def _text(outlet: Outlet, like: TextIO) -> TextIO:
    """A stream of text to an outlet, encoded and buffered as another."""
    like.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=like.encoding,
        errors="backslashreplace",
        line_buffering=like.line_buffering if isinstance(like, io.TextIOWrapper) else True,
    )
