"""Work of known memory, in a module that a new process loads fast."""

import torch
from benchmarks import timing

CPU = torch.device("cpu")


def peak_of_forty_megabytes() -> float:
    """Peak memory of work that takes so much."""
    torch.ones(30_000_000)  # a larger peak before the work must not count
    before = timing.held_bytes(CPU)
    return timing.peak_bytes(lambda: torch.ones(10_000_000), CPU) - before
