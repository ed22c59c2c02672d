"""One command in several processes, each on a device of its own: they share out its batches, and the first of them writes.

The first starts the others, which run the same command up to what is computed. Or torchrun has started them all.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from multiprocessing.process import BaseProcess
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
"""For which processes wait for one another: one that has ended is noticed at once."""

TURN = timedelta(seconds=1)
"""After which it is seen whether processes that have been started are still there."""

PORT = "SCUD_PORT"
"""Environment variable that tells other processes where the first one can be reached."""

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
        known = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
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
            store = None  # torchrun has one
            if ranks.count > 1 and ranks.launcher == "command" and ranks.writes:
                store = stack.enter_context(_others(ranks.count, self.name, self.arguments))
            elif ranks.count > 1 and ranks.launcher == "command":
                store = _store_of(int(os.environ[PORT]), ranks.count)
                store.set(f"{HERE}{ranks.rank}", "")
            if ranks.count > 1:
                stack.enter_context(_joined(ranks, store))
            yield stack.enter_context(progress_bar(what, shown=ranks.writes))


@contextmanager
def _joined(ranks: Ranks, store: Store | None) -> Iterator[None]:
    """Belong to the processes that compute together, and take a share of the cores."""
    where: dict[str, Any] = {} if store is None else {"rank": ranks.rank, "world_size": ranks.count}
    distributed.init_process_group("gloo", store=store, timeout=TIMEOUT, **where)
    try:
        with computing_with(max(torch.get_num_threads() // ranks.count, 1)):
            yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _others(count: int, command: str, arguments: Sequence[str]) -> Iterator[Store]:
    """Start all processes but the first; gives the store by which they find each other. None outlives the block."""
    store = TCPStore(HOST, 0, count, is_master=True, wait_for_workers=False)
    spawn = multiprocessing.get_context("spawn")
    others = list[BaseProcess]()
    try:
        for rank in range(1, count):
            about = (rank, count, store.port, command, list(arguments))
            started = spawn.Process(target=_join, args=about, daemon=True)
            started.start()
            others.append(started)
        for rank in range(1, count):
            _wait_for(rank, store, others)
        yield store
    except RuntimeError as error:
        if not is_of_others(error):
            raise
        raise _ended(store, others) from error
    finally:
        for other in others:  # what they have found is here
            other.kill()
            other.join()


def _store_of(port: int, count: int) -> Store:
    """By which another process finds the first one."""
    return TCPStore(HOST, port, count, is_master=False, wait_for_workers=False)


def _join(rank: int, count: int, port: int, command: str, arguments: Sequence[str]) -> None:
    """What another process runs: the command, up to what is computed; it says what goes wrong to the first one alone."""
    os.environ.update({"LOCAL_RANK": str(rank), PORT: str(port)})
    try:
        import_module(f"scud.cli.{command}").main(arguments)
    except Exception as error:  # whatever it is, the first process says it
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        _store_of(port, count).set(f"{ERROR}{rank}", told)
        raise SystemExit(2) from None


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
        elif other.exitcode:
            said.append(f"process {rank} has ended with {other.exitcode}")
    remedy = "correct that, or compute on one device, without --devices"
    return fail("the processes of --devices", "go on together", "; ".join(said), remedy)
