"""Work done in a forked child, which may be killed, run out of memory or wait for ever without harm to who looks on."""

import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from scud.errors import UserError

LIMIT_S = 120.0
"""Seconds after which a child is taken to wait for ever."""


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: its exit status: 2 for a `UserError`, 1 for another exception; None where a signal ended it.
        signal: the number of that signal, or 0.
        text: what it printed.
        late: whether it was killed because it took too long.
    """

    status: int | None
    signal: int
    text: str
    late: bool = False

    @property
    def last_line(self) -> str:
        return self.text.strip().splitlines()[-1] if self.text.strip() else ""

    @property
    def broke(self) -> str:
        """What went wrong that should never go wrong; nothing for success and a refusal in one line."""
        if self.late:
            return "took too long"
        if self.signal:
            return f"signal {self.signal}"
        if "Traceback (most recent call last)" in self.text:
            return f"traceback: {self.last_line}"
        if self.status not in (0, 2):
            return f"status {self.status}: {self.last_line}"
        if self.status == 2 and self.last_line.partition(": ")[2].startswith("[Errno"):
            return f"bare OSError: {self.last_line}"
        return ""


class Child:
    """A forked child that does some work.

    Args:
        work: what it does; what it returns is its exit status, None meaning 0.
    """

    def __init__(self, work: Callable[[], int | None]) -> None:
        self._output, theirs = os.pipe()
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of Python warn of threads
            self.pid = os.fork()
        if self.pid == 0:
            _work(work, theirs)
        os.close(theirs)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait for its end, and kill it if that takes longer than the limit."""
        parts, until, late = [], time.monotonic() + limit_s, False
        while True:
            ready, _, _ = select.select([self._output], [], [], max(until - time.monotonic(), 0))
            if not ready and not late:
                late = True
                self.kill()
                until += limit_s
                continue
            part = os.read(self._output, 1 << 16) if ready else b""
            if not part:
                break
            parts.append(part)
        os.close(self._output)
        _, code = os.waitpid(self.pid, 0)
        text = b"".join(parts).decode(errors="replace")
        if os.WIFSIGNALED(code):
            return Ended(None, os.WTERMSIG(code), text, late)
        return Ended(os.WEXITSTATUS(code), 0, text, late)


def forked(work: Callable[[], int | None], limit_s: float = LIMIT_S) -> Ended:
    """How a child ends that does some work."""
    return Child(work).end(limit_s)


def _work(work: Callable[[], int | None], output: int) -> None:
    """Do the work in the child, and end it without what belongs to its parent (tests, buffers, what runs at exit)."""
    status = 1
    try:
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
        status = _status(work)
        sys.stdout.flush()
    finally:
        os._exit(status)


def _status(work: Callable[[], int | None]) -> int:
    warnings.resetwarnings()  # which tests turn into errors: here they are lines, as for users
    try:
        return work() or 0
    except UserError as error:
        print(f"UserError: {error}")
        return 2
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
