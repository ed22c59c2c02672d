"""One command in several processes, each on a device of its own: they share out its batches, and the first of them writes.

The first starts the others, which run the same command up to what is computed. Or torchrun has started them all.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Self

import torch
from torch import distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from scud.cli.options import OfRun, progress_bar
from scud.errors import UserError, fail
from scud.ranks import Ranks, is_of_others, ranks_of
from scud.runs import resolve_device
from scud.training.threads import computing_with

HOST = "127.0.0.1"

TIMEOUT = timedelta(days=1)
"""For which processes wait for one another, once all have met: one that has ended is noticed when results are put together."""

TURN = timedelta(seconds=1)
"""After which it is seen whether processes that have been started are still there."""

PORT = "SCUD_PORT"
"""Environment variable that tells other processes where the first one can be reached."""

LEFT = 3
"""Exit status of a process that others have left: what has happened, they say."""

HERE, ERROR = "here", "error"
"""What processes say of themselves, followed by their rank."""


@dataclass(frozen=True)
class Command:
    """A command that one process runs, or several.

    Attributes:
        name: as in `scud NAME`.
        arguments: after it.
        ranks: the processes, and which of them this is.
    """

    name: str
    arguments: Sequence[str]
    ranks: Ranks

    @classmethod
    def of(cls, options: OfRun, name: str, arguments: Sequence[str]) -> Self:
        """The command that has these options.

        Raises:
            UserError: more GPUs than there are, one that is named where there are several, or another number of processes
                than torchrun has started.
        """
        # Tasks of a scheduler are none of these processes: the first one starts the others, wherever it is.
        # Nor are others' ranks that stand in the environment, unless torchrun or the first process has said them.
        told = PORT in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
        foreign = ("SLURM_",) if told else ("SLURM_", "LOCAL_RANK", "NODE_RANK")
        known = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
        place = resolve_device(options.device)
        return cls(name, arguments, ranks_of(options.devices, 1, place, known, argument="devices"))

    @contextmanager
    def computing(self, what: str) -> Iterator[Callable[[float], None]]:
        """Within the block all processes compute together; the first one starts the others, and shows how far it is.

        Args:
            what: is done, for the bar.

        Raises:
            UserError: another process has failed or has ended; the message says how.
        """
        ranks = self.ranks
        with ExitStack() as stack:
            store, others = None, list[BaseProcess]()  # torchrun has both
            if ranks.count > 1 and ranks.launcher == "command" and ranks.writes:
                started = _others(ranks.count, self.name, self.arguments)
                store, others = stack.enter_context(started)
            elif ranks.count > 1 and ranks.launcher == "command":
                store = _store_of(int(os.environ[PORT]), ranks.count)
                store.set(f"{HERE}{ranks.rank}", "")
            if ranks.count > 1:
                stack.enter_context(_joined(ranks, store, others))
            yield stack.enter_context(progress_bar(what, shown=ranks.writes))


@contextmanager
def _joined(ranks: Ranks, store: Store | None, others: Sequence[BaseProcess]) -> Iterator[None]:
    """Belong to the processes that compute together, and take a share of the cores."""
    where: dict[str, Any] = {} if store is None else {"rank": ranks.rank, "world_size": ranks.count}
    with _noticing(store, others):
        distributed.init_process_group("gloo", store=store, timeout=TIMEOUT, **where)
    try:
        with computing_with(max(torch.get_num_threads() // ranks.count, 1)):
            yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _noticing(store: Store | None, others: Sequence[BaseProcess]) -> Iterator[None]:
    """Within the block, in which processes find each other, end this one if another one ends: PyTorch would not notice."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(TURN.total_seconds()):
            if store is not None and any(other.exitcode is not None for other in others):
                print(f"scud: {_ended(store, others)}", file=sys.stderr, flush=True)
                os._exit(2)

    if others:
        threading.Thread(target=watch, name="scud-processes", daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def _others(
    count: int, command: str, arguments: Sequence[str]
) -> Iterator[tuple[Store, list[BaseProcess]]]:
    """Start all processes but the first; gives the store by which they find each other, and them. None outlives the block."""
    store = TCPStore(HOST, 0, count, is_master=True, wait_for_workers=False)
    spawn = multiprocessing.get_context("spawn")
    others = list[BaseProcess]()
    try:
        for rank in range(1, count):
            about = (rank, count, store.port, command, list(arguments))
            started = spawn.Process(target=_join, args=about, daemon=True)
            with _without_main():
                started.start()
            others.append(started)
        for rank in range(1, count):
            _wait_for(rank, store, others)
        yield store, others
    except RuntimeError as error:
        if not is_of_others(error):
            raise
        raise _ended(store, others) from error
    finally:
        for other in others:  # what they have found is here
            other.kill()
            other.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Within the block processes that are started do not run the caller's main module, which may be a script without a guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _store_of(port: int, count: int) -> Store:
    """By which another process finds the first one."""
    return TCPStore(HOST, port, count, is_master=False, wait_for_workers=False)


def _join(rank: int, count: int, port: int, command: str, arguments: Sequence[str]) -> None:
    """What another process runs: the command, up to what is computed; it says what goes wrong to the first one alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the first process hears too
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    os.environ.update({"LOCAL_RANK": str(rank), PORT: str(port)})
    store = _store_of(port, count)
    try:
        import_module(f"scud.cli.{command}").main(arguments)
    except Exception as error:  # whatever it is, the first process says it
        if isinstance(error, RuntimeError) and is_of_others(error):
            raise SystemExit(LEFT) from None
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        store.set(f"{ERROR}{rank}", told)
        raise SystemExit(2) from None


def _end_with_the_first() -> None:
    """End this process when the first one is no longer there, however that has ended."""
    first = multiprocessing.parent_process()
    assert first is not None, "the first process has started this one"
    connection.wait([first.sentinel])
    os._exit(1)


def _wait_for(rank: int, store: Store, others: Sequence[BaseProcess]) -> None:
    """Wait until a process that has been started is there; raises `UserError` if one has ended."""
    while not store.check([f"{HERE}{rank}"]):
        others[rank - 1].join(TURN.total_seconds())
        if others[rank - 1].exitcode is not None:
            raise _ended(store, others)


def _ended(store: Store, others: Sequence[BaseProcess]) -> UserError:
    """The error of processes that have ended: what they have said, or how they have ended."""
    said = []
    for rank, other in enumerate(others, 1):
        other.join(TURN.total_seconds())
        if store.check([f"{ERROR}{rank}"]):
            said.append(f"process {rank}: {store.get(f'{ERROR}{rank}').decode()}")
        elif other.exitcode and other.exitcode != LEFT:
            said.append(f"process {rank} has ended with {other.exitcode}")
    remedy = "correct that, or compute on one device, without --devices"
    return fail(
        "the processes of --devices",
        "go on together",
        "; ".join(said) or "another one has ended",
        remedy,
    )
