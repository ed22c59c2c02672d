"""What costs time on a GPU and nothing here: kernels that are started, and hosts that wait, by the line that waited."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

import scud
from tests.pretended.calls import Call, on_gpu

LIBRARY = str(Path(scud.__file__).parent)

STARTS_NOTHING = frozenset(
    {
        "empty",
        "empty_strided",
        "empty_like",
        "new_empty",
        "new_empty_strided",
        "_unsafe_view",
        "_local_scalar_dense",
        "is_same_size",
        "lift",
        "lift_fresh",
        "set_",
        "resize_",
    }
)
"""Operations beside views that start no kernel: memory that is handed out, and another look at what is there."""

WAITS = frozenset(
    {
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "allclose",
        "nonzero",
        "nonzero_static",
        "argwhere",
        "masked_select",
        "unique_dim",
        "_unique",
        "_unique2",
        "unique_consecutive",
        "bincount",
        "histc",
        "_histogramdd_bin_edges",
        "_linalg_check_errors",
        "_linalg_eigh",
        "_linalg_svd",
        "linalg_eig",
        "linalg_matrix_exp",
        "linalg_lstsq",
        "_cholesky_solve_helper",
        "segment_reduce",
    }
)
"""Operations whose result, or its shape, the host must know before it can go on."""


@dataclass
class Counts:
    """What was counted.

    Attributes:
        kernels: operations that start one.
        waits: how often the host waited.
        where: how often by line of the library, and what waited there.
    """

    kernels: int = 0
    waits: int = 0
    where: Counter[str] = field(default_factory=Counter)

    def add(self, call: Call) -> None:
        """Count an operation."""
        for what in reasons_to_wait(call):
            self.wait(what)
        self.kernels += starts_kernel(call)

    def wait(self, what: str) -> None:
        """Count that the host waited."""
        self.waits += 1
        self.where[f"{line_of_library()} {what}"] += 1

    def __str__(self) -> str:
        lines = [f"{times} x {place}" for place, times in self.where.most_common(20)]
        return f"{self.kernels} kernels, {self.waits} waits: {'; '.join(lines) or 'none'}"


_COUNTING: list[Counts] = []


@contextmanager
def count() -> Iterator[Counts]:
    """Count what is done in the block; blocks may lie in one another."""
    counts = Counts()
    _COUNTING.append(counts)
    try:
        yield counts
    finally:
        _COUNTING.remove(counts)


def counted(call: Call) -> None:
    """Tell all who count of an operation."""
    for counts in _COUNTING:
        counts.add(call)


def waited(what: str) -> None:
    """Tell all who count that the host waited."""
    for counts in _COUNTING:
        counts.wait(what)


def starts_kernel(call: Call) -> bool:
    """Whether an operation starts a kernel on the GPU."""
    if not call.computes_there or call.name in STARTS_NOTHING:
        return False
    return not (call.function.is_view or torch.Tag.inplace_view in call.function.tags)


def reasons_to_wait(call: Call) -> list[str]:
    """Why the host waits for the GPU at an operation, once for each time that it does."""
    reasons = []
    if call.brings_back:
        reasons.append(f"{call.name} to the CPU")
    # From memory that is not pinned the host waits until all that is queued is done.
    if call.sends and not call.argument("non_blocking"):
        reasons.append(f"{call.name} to the GPU")
    if not call.there:
        return reasons
    if call.name in WAITS or waits_by_arguments(call):
        reasons.append(call.name)
    if any(index.dtype in (torch.bool, torch.uint8) for index in call.indices):
        reasons.append(f"{call.name} by flags")
    if any(index.dim() > 0 and not on_gpu(index) for index in call.indices):
        reasons.append(f"{call.name} by indices of the CPU")
    return reasons


def waits_by_arguments(call: Call) -> bool:
    """Whether an operation that need not make the host wait does so as it is asked."""
    if call.name == "repeat_interleave":
        return call.argument("output_size") is None
    if call.name == "multinomial":  # it looks at the weights, unless it draws many with replacement
        return call.argument("num_samples") == 1 or not call.argument("replacement")
    return False


def line_of_library() -> str:
    """The line of the library that is being run, the innermost one; of this test suite where there is none."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(LIBRARY):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "outside the library"
    return f"{Path(frame.f_code.co_filename).relative_to(LIBRARY)}:{frame.f_lineno}"
