"""How seconds and bytes are measured: pairs of alternating runs, and peak memory.

Seconds are wall time on a CPU. On a GPU they are the time between two events in its stream, with nothing queued before the
first: launching the work counts, as it does in training. What two runs cost is compared in pairs, each pair in the other
order than the one before, so that whatever else the machine does hits both; the ratio is that of their medians, or of their means
where pairs do different work, and its standard error comes from the ratios of the pairs.

Peak memory on a GPU is what PyTorch has allocated. On a CPU it is the process's resident memory, whose peak Linux can reset.
There it is measured in a process of its own, in which the allocator returns what it frees: one that keeps memory for later would
hide what is taken again.
"""

import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]

RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Settings of the C library, in bytes, with which larger blocks go back to the system once they are freed."""


@dataclass(frozen=True)
class Comparison:
    """What `full` costs over `base`.

    Attributes:
        base: seconds of the baseline, on average over the pairs.
        full: seconds of the other.
        ratio: full / base.
        error: standard error of the ratio.
    """

    base: float
    full: float
    ratio: float
    error: float


def seconds(work: Work, device: torch.device, inner: int = 1) -> float:
    """Seconds of one run of `work`, the mean of `inner` runs without a pause."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        start.record()
        for _ in range(inner):
            work()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1e3 / inner
    began = time.perf_counter()
    for _ in range(inner):
        work()
    return (time.perf_counter() - began) / inner


def median_seconds(work: Work, device: torch.device, repeats: int) -> float:
    """Median seconds of `work`, after one run to warm up."""
    work()
    return statistics.median(seconds(work, device) for _ in range(repeats))


def compare(
    base: Work,
    full: Work,
    device: torch.device,
    pairs: int,
    inner: int = 1,
    average: Callable[[Sequence[float]], float] = statistics.median,
) -> Comparison:
    """Measure two pieces of work in alternation, after one run of each to warm up; `pairs` at least 2.

    The average is the median where pairs differ by what else the machine does, the mean where they differ by their work.
    """
    base(), full()
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            after = seconds(full, device, inner)
            times.append((seconds(base, device, inner), after))
        else:
            before = seconds(base, device, inner)
            times.append((before, seconds(full, device, inner)))
    low, high = (average(column) for column in zip(*times, strict=True))
    error = statistics.stdev(b / a for a, b in times) / math.sqrt(pairs)
    return Comparison(low, high, high / low, error)


def held_bytes(device: torch.device) -> float:
    """Bytes held now; NaN where the system does not say."""
    return float(torch.cuda.memory_allocated(device)) if device.type == "cuda" else _status("VmRSS")


def peak_bytes(work: Work, device: torch.device) -> float:
    """The most bytes held while `work` runs; NaN where the system does not say."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return float(torch.cuda.max_memory_allocated(device))
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return math.nan
    reset.write_text("5")
    work()
    return _status("VmHWM")


def _status(field: str) -> float:
    path = Path("/proc/self/status")
    if not path.exists():
        return math.nan
    (line,) = (line for line in path.read_text().splitlines() if line.startswith(field))
    return 1024 * float(line.split()[1])


@contextmanager
def fresh_process(wanted: bool = True) -> Iterator[Callable[..., Any]]:
    """Calls functions in a process of its own, with as many threads, whose allocator returns what it frees.

    Where none is wanted, on a GPU and in miniatures, they are called here.
    """
    if not wanted:
        yield lambda function, *arguments: function(*arguments)
        return
    before = {name: os.environ.get(name) for name in RETURN_FREED}
    os.environ.update(RETURN_FREED)
    try:
        with multiprocessing.get_context("spawn").Pool(
            1, torch.set_num_threads, (torch.get_num_threads(),)
        ) as pool:
            yield lambda function, *arguments: pool.apply(function, arguments)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
