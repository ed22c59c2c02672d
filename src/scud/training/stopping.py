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

    A signal that is ignored, as SIGHUP is under `nohup`, stays ignored, and one that a program handles stays with it.
    Python lets only the main thread handle signals: elsewhere nothing is noted.

    Args:
        ours: further handlers whose signals are taken from them.

    Attributes:
        signum: the number of the signal that was noted, or None.
    """

    def __init__(self, *ours: Any) -> None:
        self.signum: int | None = None
        self.handlers: dict[int, Any] = {}
        self.free = (signal.SIG_DFL, signal.default_int_handler, *ours)

    def watch(self) -> None:
        """Note signals from now on."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has two of them
            if number is not None and self._is_free(signal.getsignal(number)):
                self.handlers[number] = signal.signal(number, self._note)

    def _is_free(self, handler: Any) -> bool:
        """Whether only Python itself handles a signal, or Lightning, which has just taken it and is told too."""
        return handler in self.free or type(handler).__module__.startswith("pytorch_lightning")

    def forget(self) -> None:
        """Handle signals as before."""
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        self.handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.signum = number
        signal.signal(number, self.handlers[number])
