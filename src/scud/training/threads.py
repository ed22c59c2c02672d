"""How many threads a run on a CPU computes with.

More threads are not always faster: they wait for each other, and where another process has one of the cores, all wait for
the one that shares it. So a few steps are tried before a run begins.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from time import perf_counter

import torch
from torch import nn

from scud.errors import fail
from scud.networks.labels import reads_labels
from scud.seeds import Use, seeded
from scud.training.job import Job
from scud.training.precision import keep_weights_in
from scud.training.stream import Portion, Stream

LEAST_STEPS = 50
"""Of a run before which steps are tried: in a shorter one that would cost more than the choice gives."""

ROUNDS = 5
"""At most so many steps are timed with each number of threads."""

SECONDS = 5.0
"""No round begins after these."""

TIE = 1.1
"""Times whose ratio is below this do not differ: fewer threads are taken, which leave more of the machine to others."""

HOPELESS = 1.5
"""Where a number takes so many times as long as a larger one, smaller ones are not tried: one of 64 threads takes long."""


@dataclass(frozen=True)
class Tried:
    """What trying came to.

    Attributes:
        seconds: the median time of a step, by number of threads.
    """

    seconds: Mapping[int, float]

    @property
    def best(self) -> int:
        """The number of threads with which a step is fastest, or the smallest with which it is about as fast."""
        fastest = min(self.seconds.values())
        return min(number for number, time in self.seconds.items() if time <= fastest * TIE)

    def __str__(self) -> str:
        times = [f"{time:.2g} s with {number}" for number, time in sorted(self.seconds.items())]
        return f"threads: {self.best} (a step took {', '.join(times)}; --threads decides by hand)"


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raise `UserError` for more threads than there are cores."""
    most = cores()
    if threads is not None and threads > most:
        rule = f"be at most {most}, the cores at hand"
        raise fail("threads", rule, threads, f"give --threads {most} or fewer")


def at_hand(threads: int | None) -> int | None:
    """So many threads, or one for each core where there are fewer: of a run that began on a larger machine."""
    return None if threads is None else min(threads, cores())


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Compute with so many threads, or as before where it is None; afterwards as before."""
    before, named = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for Lightning, and processes it starts
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if threads is not None and named is None:
            del os.environ["OMP_NUM_THREADS"]
        elif threads is not None and named is not None:
            os.environ["OMP_NUM_THREADS"] = named


def candidates() -> list[int]:
    """All threads that PyTorch would use (OMP_NUM_THREADS and torch.set_num_threads bound them), half, and one."""
    most = min(torch.get_num_threads(), cores())
    return sorted({most, max(most // 2, 1), 1}, reverse=True)


def try_threads(job: Job, device: torch.device) -> Tried | None:
    """Try a few steps with one, half and all threads, and forget them.

    They are made by copies of model, network and objective, with randomness of their own, and without `torch.compile`.
    Nothing is tried on a GPU, where a step does not wait for the CPU's threads, or for a run of less than `LEAST_STEPS` steps.

    Returns:
        How long steps took, or None where nothing was tried.
    """
    numbers = candidates()
    if device.type != "cpu" or len(numbers) == 1 or job.settings.steps < LEAST_STEPS:
        return None
    times = time_steps(job, numbers)
    return Tried({number: median(seconds) for number, seconds in times.items()})


def time_steps(job: Job, numbers: Sequence[int]) -> dict[int, list[float]]:
    """Seconds of steps with each of these numbers of threads, which fall; of each round all numbers take the same batch."""
    # The training that follows loads Lightning anyway.
    from pytorch_lightning.utilities.seed import isolate_rng

    with isolate_rng(include_cuda=False), computing_with(numbers[0]), torch.enable_grad():
        model, network, objective = deepcopy((job.model, job.network, job.objective))
        copied = replace(job, model=model, network=network, objective=objective)
        network.train()
        if job.settings.precision == "bfloat16-true":
            keep_weights_in(torch.bfloat16, network)
        # Without a rate the weights stay as they are: the time of a step cannot come to depend on what was learnt.
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, fused=True)
        stream = iter(Stream(copied, 0))
        portions = list(islice(stream, job.settings.accumulate))

        def timed(number: int) -> float:
            torch.set_num_threads(number)
            before = perf_counter()
            _step(copied, optimizer, portions)
            return perf_counter() - before

        begin = perf_counter()
        # Reserves memory, and fills what the model keeps. All threads, or one of many, may take long.
        timed(numbers[len(numbers) // 2])
        times: dict[int, list[float]] = {}
        for number in numbers:
            times[number] = [timed(number)]
            if times[number][0] > HOPELESS * min(first for (first,) in times.values()):
                break
        while len(times[numbers[0]]) < ROUNDS and perf_counter() - begin < SECONDS:
            portions = list(islice(stream, job.settings.accumulate))
            for number, seconds in times.items():
                seconds.append(timed(number))
    return times


def _step(job: Job, optimizer: torch.optim.Optimizer, portions: Sequence[Portion]) -> None:
    """What a step of training computes, but for the average of the weights."""
    for portion in portions:
        batch = portion.batch
        if not reads_labels(job.network):
            batch = replace(batch, label=None)
        noise = seeded(job.seed, Use.NOISE, portion.step, portion.part)
        with torch.autocast("cpu", torch.bfloat16, job.settings.precision != "float32"):
            terms = job.model.objective(
                job.network, batch, job.objective, generator=noise, u=portion.u
            )
            loss = terms.loss.sum() / portion.positions / len(portions)
        torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(job.network.parameters(), job.settings.clip)
    optimizer.step()
    optimizer.zero_grad()
