"""What everything but the network costs, and how it grows.

"Everything but the network" is one training step with given logits: times, noising, evidence embedded in 64 dimensions, loss, and
the gradients of logits and embedding.
"""

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import cases
from benchmarks.cases import FreeDenoiser, Scale
from benchmarks.report import Row, Table
from benchmarks.timing import Work, fresh_process, held_bytes, median_seconds, peak_bytes, seconds
from scud.data import Examples, load_images
from scud.diffusion import Diffusion
from scud.processes import Gaussian, Kernel
from scud.samplers import Ancestral
from scud.schedules import MutualInformation

CPU = torch.device("cpu")

FORMS = ("events", "time")
"""What the two kinds of mutual-information schedule are conditioned on."""


@dataclass(frozen=True)
class Ranges:
    """What is varied in `growth_table`, one at a time around batches of `shape` with B = `states`."""

    shape: tuple[int, ...] = (4, 3, 32, 32)
    states: int = 64
    vary_states: tuple[int, ...] = (16, 64, 256, 1024)
    vary_positions: tuple[int, ...] = (256, 1024, 4096, 16384)
    vary_batch: tuple[int, ...] = (1, 4, 16, 64)
    vary_steps: tuple[int, ...] = (8, 32, 128)

    @classmethod
    def quick(cls) -> "Ranges":
        """A size that shows that everything runs, and says nothing about speed."""
        return cls((2, 3, 8, 8), 16, (16, 32), (64, 128), (1, 2), (2, 4))


def free_step(model: Diffusion, x0: Tensor) -> Work:
    """Everything but the network in one training step, forward and backward."""
    denoiser = FreeDenoiser(tuple(x0.shape), model.num_states, CPU)

    def step() -> None:
        denoiser.forget()
        model.loss(denoiser, x0).backward()

    return step


def table_mb(model: Diffusion) -> float:
    """Megabytes of all tables a model keeps, with the matrices that are kept between steps."""
    tables = list(model.buffers())
    for kernel in (module for module in model.modules() if isinstance(module, Kernel)):
        tables += [table for operator in kernel._recent.values() for table in operator.tables()]
    return sum(table.numel() * table.element_size() for table in tables) / 1e6


def schedule(num_states: int, form: str) -> MutualInformation:
    """The mutual-information schedule of the measured noise."""
    gamma = cases.events_gamma(num_states) if form == "events" else 0.0
    return MutualInformation(
        Gaussian(num_states, bandwidth=0.05), cases.marginal(num_states), gamma
    )


def schedule_memory(num_states: int, form: str) -> float:
    """Bytes by which memory grows at most while a schedule is built, after a small one."""
    schedule(16, form)
    before = held_bytes(CPU)
    return peak_bytes(lambda: schedule(num_states, form), CPU) - before


def overhead_table(scale: Scale) -> Table:
    """Seconds and megabytes of schedules and of steps without a network, at the two largest B."""
    rows: list[Row] = []
    with fresh_process(scale.fresh) as call:
        for num_states in scale.states[-2:]:
            for form in FORMS:
                taken = median_seconds(lambda b=num_states, f=form: schedule(b, f), CPU, 3)
                memory = call(schedule_memory, num_states, form) / 1e6
                rows.append(
                    {"what": f"schedule, {form}", "B": num_states, "seconds": taken, "MB": memory}
                )
            for name in cases.MODELS:
                model = cases.model(name, num_states)
                taken = median_seconds(
                    free_step(model, cases.images(model.p0, scale.shape)), CPU, 7
                )
                rows.append(
                    {
                        "what": f"step, {name}",
                        "B": num_states,
                        "seconds": taken,
                        "MB": table_mb(model),
                    }
                )
    text = (
        f"Everything but the network in a training step, forward and backward, batch {' x '.join(map(str, scale.shape))}, "
        "and building the mutual-information schedule. MB: peak memory of building a schedule, tables kept by a model."
    )
    return Table("overhead", text, rows)


def growth_table(ranges: Ranges) -> Table:
    """How seconds grow with B, D, batch and steps."""
    rows: list[Row] = []

    def add(what: str, vary: str, value: int, taken: float) -> None:
        rows.append({"what": what, "grows with": vary, "at": value, "seconds": taken})

    for num_states in ranges.vary_states:
        for form in FORMS:
            add(
                f"schedule, {form}",
                "B",
                num_states,
                seconds(lambda b=num_states, f=form: schedule(b, f), CPU),
            )
        for name in cases.MODELS:
            model = cases.model(name, num_states)
            step = free_step(model, cases.images(model.p0, ranges.shape))
            add(f"step, {name}", "B", num_states, median_seconds(step, CPU, 3))
    for name in cases.MODELS:
        model, (batch, *dims) = cases.model(name, ranges.states), ranges.shape
        for positions in ranges.vary_positions:
            step = free_step(model, cases.images(model.p0, (batch, positions)))
            add(f"step, {name}", "D", positions, median_seconds(step, CPU, 3))
        for batch in ranges.vary_batch:
            step = free_step(model, cases.images(model.p0, (batch, *dims)))
            add(f"step, {name}", "batch", batch, median_seconds(step, CPU, 3))
        denoiser = FreeDenoiser(ranges.shape, ranges.states, CPU)
        for steps in ranges.vary_steps:
            taken = seconds(
                lambda m=model, d=denoiser, n=steps: Ancestral(steps=n)(m, d, ranges.shape), CPU
            )
            add(f"sampling run, {name}", "steps", steps, taken)
    text = (
        f"Without a network, one thing varied at a time: batch {' x '.join(map(str, ranges.shape))}, B = {ranges.states} unless "
        "it is what varies; D is in batches of as many sequences. A schedule, and a sampling run, is built once."
    )
    return Table("growth", text, rows)


def data_table(scale: Scale, count: int) -> Table:
    """Reading images from a file, and taking batches of them from memory."""
    channels, height, width = scale.shape[1:]
    pixels = np.random.default_rng(0).integers(
        0, 256, (count, height, width, channels), dtype=np.uint8
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        np.savez(path, x_train=pixels)
        reading = median_seconds(lambda: load_images(path, 256), CPU, 3)
        examples = load_images(path, 256).split("train")
    assert isinstance(examples, Examples)
    rows: list[Row] = [
        {"what": f"read and quantise {count} images", "batch": None, "seconds": reading}
    ]
    for batch in (16, 64, 256):
        generator = torch.Generator().manual_seed(0)
        indices = itertools.cycle(torch.randint(len(examples), (16, batch), generator=generator))
        taken = median_seconds(lambda i=indices: examples.batch(next(i)), CPU, 16)
        rows.append({"what": "a batch from memory", "batch": batch, "seconds": taken})
    text = f"Images of {channels} x {height} x {width} from an uncompressed .npz file, and shuffled batches of them as states."
    return Table("data", text, rows)
