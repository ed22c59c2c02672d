"""Being asked to stop: the signals of terminals, job schedulers and administrators."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""Ctrl-C; the end of a job's time, or `kill`; the end of a terminal; what schedulers
send before the end, where they are asked to; the end of the time that a process may compute."""


class Stop:
    """Notes the first signal that asks to stop; a second one of its kind does what it would do without this.

    A signal that is ignored, as SIGHUP is under `nohup`, stays ignored. Python lets only the main thread handle
    signals: elsewhere nothing is noted.

    Attributes:
        signum: the number of the signal that was noted, or None.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.handlers: dict[int, Any] = {}

    def watch(self) -> None:
        """Note signals from now on."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has two of them
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                self.handlers[number] = signal.signal(number, self._note)

    def forget(self) -> None:
        """Handle signals as before."""
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        self.handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.signum = number
        signal.signal(number, self.handlers[number])
