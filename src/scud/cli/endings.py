"""How a command ends: on a signal, or where more was asked for than the memory holds."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scud.errors import Interrupted, UserError, fail
from scud.training.stopping import SIGNALS, Stop

LARGE = 1000
"""Numbers of the command line that may be what asked for too much."""

_MARKS = (
    "[enforce fail at alloc_cpu.cpp",
    "can't allocate memory",
    "not enough memory",
    "CUDA out of memory",
    "Storage size calculation overflowed",
)
"""In what PyTorch says where memory does not suffice: it raises plain runtime errors."""


@contextmanager
def on_signals() -> Iterator[None]:
    """Within the block signals that ask to stop raise `Interrupted`, so that what was drawn is written; ignored ones stay so."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[None]:
    """Within the block, which writes results, signals that ask to stop are noted; they are raised when it is done."""
    stop = Stop(_end)
    stop.watch()
    try:
        yield
    finally:
        stop.forget()
    if stop.signum is not None:
        raise Interrupted(stop.signum)


def _end(number: int, _: Any) -> None:
    raise Interrupted(number)


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status after an interrupt, as a shell has it: 128 and the number of the signal."""
    return 128 + int(getattr(interrupt, "signum", signal.SIGINT))


def too_large(error: BaseException) -> bool:
    """Whether an error says that memory, or the depth of calls, did not suffice."""
    if isinstance(error, MemoryError | RecursionError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MARKS)


def of_size(error: BaseException, arguments: Sequence[str]) -> UserError:
    """The error of a request that was too large, which names the large numbers in it."""
    reason = str(error).splitlines()[0] if str(error) else "out of memory"
    asked = " ".join(_large(arguments)) or "the data and the model"
    remedy = "ask for less at once, or use a machine with more"
    return fail(asked, "fit in the memory there is", reason, remedy)


def _large(arguments: Sequence[str]) -> Iterator[str]:
    """Options that were given a large number."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not equals:
            value = "".join(arguments[place + 1 : place + 2])
        if name.startswith("--") and value.isdecimal() and (len(value) > 4 or int(value) >= LARGE):
            yield f"{name} {value}"
