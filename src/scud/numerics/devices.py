"""Which of two paths computes: grouped, or of fixed shape.

On a CPU positions are grouped by their amount of noise: those that have none are left out, those of one amount share one
dense product. To group, the host must look at numbers. A GPU would have to finish all that is queued before it could show
them, and then start many small kernels. There every position takes the same operations, in one block whose shape is known
beforehand, and special cases are chosen by `torch.where`: the host never waits. What is compiled takes that path too, on any
device: a compiler can no more look at numbers than a host that does not wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_everywhere = ContextVar("everywhere", default=False)


def is_fixed(like: Tensor) -> bool:
    """Whether what is computed on the device of `like` takes the path of fixed shapes."""
    return torch.compiler.is_compiling() or like.device.type != "cpu" or _everywhere.get()


@contextmanager
def fixed_shapes(everywhere: bool = True) -> Iterator[None]:
    """The path of fixed shapes on a CPU too, for tests and measurements."""
    token = _everywhere.set(everywhere)
    try:
        yield
    finally:
        _everywhere.reset(token)
