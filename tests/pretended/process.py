"""The process in which the pretended GPU lives: work is handed to it, and its results, or what it raised, come back.

PyTorch must know the device before its first backward pass, when it starts a thread for every device, and knows it for good.
In the process of other tests it would be too late, and would change what they meet.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch

from tests.pretended.device import registered


def start() -> None:
    """What the process does first."""
    torch.set_num_threads(1)
    registered()


@contextmanager
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Calls functions of a module, with arguments that can be pickled, in one process that has the pretended GPU."""
    with ProcessPoolExecutor(1, get_context("spawn"), start) as pool:

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return pool.submit(function, *arguments).result()

        yield call
