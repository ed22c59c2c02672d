"""Batches that are prepared ahead of the step that takes them."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from scud.training.stream import Portion

MOST = 2
"""How many portions are prepared ahead."""


class Ahead:
    """Portions that one background thread prepares, `MOST` ahead of who takes them; in page-locked memory for a CUDA device.

    They are the same as without the thread, in the same order: a portion is a function of seed and step. An error in the
    thread is raised where its portion would have been taken. The thread ends with the last portion, with an error, and with
    `close`.

    Args:
        portions: what is prepared; nothing in it may draw from PyTorch's global random state, which the steps set.
        device: where they will go.
    """

    def __init__(self, portions: Iterable[Portion], device: torch.device) -> None:
        self.portions, self.device = portions, device
        self._running: Generator[Portion, None, None] | None = None

    def __iter__(self) -> Iterator[Portion]:
        self.close()
        self._running = self._taken()
        return self._running

    def close(self) -> None:
        """End the thread, if there is one, with the portion at hand."""
        if self._running is not None:
            self._running.close()

    def _taken(self) -> Generator[Portion, None, None]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="scud-batches")
        source = iter(self.portions)
        try:
            waiting = deque(pool.submit(self._prepared, source) for _ in range(MOST))
            while (portion := waiting.popleft().result()) is not None:
                waiting.append(pool.submit(self._prepared, source))
                yield portion
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepared(self, source: Iterator[Portion]) -> Portion | None:
        """The next portion; None at the end."""
        portion = next(source, None)
        if portion is None or self.device.type != "cuda":
            return portion
        torch.cuda.set_device(self.device)  # of this thread: page-locked memory belongs to a device
        return portion.pinned()


def ahead(portions: Iterable[Portion], device: torch.device) -> Iterable[Portion]:
    """Portions prepared by a thread for a device that computes by itself, and as they are for a CPU.

    A step on a CPU takes hundreds of times as long as its batch is prepared in: there is nothing to gain, and a thread takes
    time from a step that computes on all cores. Beside steps of five times a batch's preparation, which no network has, it gave
    0.85 to 1.4 times the batches (docs/results.md, which also has those of a host that waits for an accelerator).
    """
    return portions if device.type == "cpu" else Ahead(portions, device)
