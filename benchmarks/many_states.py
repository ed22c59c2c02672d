"""Noise on a graph of tens of thousands of states: what it costs to make, and its training step over masking's.

States are the size of a WordPiece vocabulary: 30,522 with made-up embeddings of width 384, marginal as of words (Zipf's law); 10
neighbours each. Embeddings are points of a normal law in 9 dimensions, so that the graph grows as that of BERT's input embeddings
does: after 1 to 6 steps back from a state there are 10, 72, 400, 1,800, 5,900 and 13,800 (BERT: 10, 74, 396, 1,759, 6,072 and
14,046). The step is that of the transformer "small" (12 blocks of width 256) on 8 x 128 tokens.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.cases import images
from benchmarks.report import Row, Table
from benchmarks.steps import TrainingStep
from benchmarks.timing import compare, fresh_process, held_bytes, peak_bytes
from scud.diffusion import SCUD, Diffusion, Masking
from scud.diffusion.objectives import Bound, Objective, Reconstruction
from scud.diffusion.times import draw_times
from scud.networks import DiT
from scud.networks.dit import PRESETS
from scud.numerics import stratified_uniform
from scud.processes import NeighbourGraph, Uniform
from scud.processes.kernels.sparse import SparseKernel
from scud.processes.neighbour_lists import nearest_by_cosine
from scud.schedules import Linear, MutualInformation
from scud.typing import Batch

CPU = torch.device("cpu")

Result = TypeVar("Result")

MODELS: dict[str, tuple[str, Objective]] = {
    "masking": ("masking", Bound()),
    "graph": ("graph", Bound()),
    "graph, reconstruction": ("graph", Reconstruction()),
    "uniform": ("uniform", Bound()),
}
"""What is measured: the noise, and what the loss is."""

DIMENSIONS = 9
"""Of the space that the embeddings lie in."""


@dataclass(frozen=True)
class Scale:
    """How large the measured work is."""

    num_states: int = 30_522
    width: int = 384
    nearest: int = 10
    batch: int = 8
    length: int = 128
    network: str = "small"
    pairs: int = 20
    fresh: bool = True
    models: tuple[str, ...] = tuple(MODELS)

    @classmethod
    def quick(cls) -> "Scale":
        """A size that shows that everything runs, and says nothing about speed."""
        return cls(
            num_states=600,
            width=8,
            nearest=3,
            batch=2,
            length=8,
            network="tiny",
            pairs=2,
            fresh=False,
            models=("masking", "graph"),
        )


def embeddings(scale: Scale) -> Tensor:
    """[B, width], always the same."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(scale.num_states, DIMENSIONS, generator=generator)
    return points @ torch.randn(DIMENSIONS, scale.width, generator=generator)


def marginal(scale: Scale) -> Tensor:
    """Zipf's law, [B] float64."""
    law = 1 / torch.arange(3, scale.num_states + 3, dtype=torch.float64)
    return law / law.sum()


def graph(scale: Scale) -> NeighbourGraph:
    """The process; edges have rates exp((cosine - 1) / 0.3)."""
    neighbours, cosines = nearest_by_cosine(
        embeddings(scale), scale.nearest, torch.zeros(scale.num_states, dtype=torch.bool)
    )
    return NeighbourGraph(neighbours, ((cosines.double() - 1) / 0.3).exp(), marginal(scale))


def model(name: str, scale: Scale) -> Diffusion:
    """masking, graph or uniform. The curve of the graph is that of its information, as users have it."""
    p0 = marginal(scale)
    if name == "masking":
        return Masking(scale.num_states, Linear(), p0=p0)
    process = graph(scale) if name == "graph" else Uniform(scale.num_states)
    return SCUD(process, MutualInformation(process, p0), p0=p0)


def step(name: str, scale: Scale) -> TrainingStep:
    """The training step of one of MODELS."""
    noise, objective = MODELS[name]
    torch.manual_seed(0)
    network = DiT(scale.num_states, **PRESETS[scale.network], dropout=0.0).train()
    made = model(noise, scale)
    network.start_at(made.p0)
    x0 = images(made.p0, (scale.batch, scale.length), torch.Generator().manual_seed(1))
    return TrainingStep(made, network, Batch(x0), objective)


def step_rows(scale: Scale) -> Iterator[Row]:
    """A row for each model: seconds and peak memory of a step, over those of masking."""
    base = step("masking", scale)
    with fresh_process(scale.fresh) as call:
        call(step_memory, "masking", scale)  # the first time counts what libraries load
        least = call(step_memory, "masking", scale)
        for name in scale.models:
            other = step(name, scale)
            found = compare(
                base.full,
                other.full,
                CPU,
                scale.pairs,
                average=lambda times: sum(times) / len(times),
            )
            del other
            most = call(step_memory, name, scale)
            row: dict[str, object] = {
                "model": name,
                "masking, s": found.base,
                "step, s": found.full,
            }
            row |= {"step / masking": found.ratio, "±": found.error}
            yield {
                **row,
                "peak, MB": most / 1e6,
                "peak / masking": most / least if least > 0 else math.nan,
            }


def step_memory(name: str, scale: Scale) -> float:
    """Peak bytes of a training step, with all that it needs: process, network and optimiser."""
    before = held_bytes(CPU)
    work = step(name, scale)
    work.full()
    return max(peak_bytes(work.full, CPU) for _ in range(3)) - before


def part_rows(scale: Scale) -> Iterator[Row]:
    """Where the seconds of a step by reconstruction go: a row for each part, of masking and of the graph, means over draws."""
    spent = [parts(step(name, scale), scale.pairs) for name in ("masking", "graph, reconstruction")]
    for part in spent[1]:
        yield {"part": part, "masking": spent[0].get(part, math.nan), "graph": spent[1][part]}


def parts(work: TrainingStep, repeats: int) -> dict[str, float]:
    """Seconds of the parts of a step, and what its noise was, on average."""
    model, x0, found = work.model, work.batch.x0, Counter[str]()

    def timed(part: str, function: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = function()
        found[part] += time.perf_counter() - began
        return result

    for draw in range(repeats + 1):
        if draw == 1:
            found.clear()  # the first one warms up
        generator = torch.Generator().manual_seed(draw)
        t, _ = draw_times(
            stratified_uniform(len(x0), generator), model.schedule, model.t_max, model.tau_max
        )
        noisy = timed("noise, s", partial(model.noise, x0, t, generator))
        assert noisy.s is not None
        if isinstance(model, SCUD) and isinstance(model.kernel, SparseKernel):
            counts = model.kernel.counts(noisy.s.flatten())
            walked, _ = timed(
                "columns of K^s, s",
                partial(model.kernel.ancestors, counts, noisy.x_t.flatten(), torch.float32),
            )
            found["columns that are no lists"] += len(walked.dense)
        logits = timed(
            "network with evidence, s", partial(work.network, noisy.x_t, model.condition(noisy))
        )
        loss = timed(
            "output layer and loss, s", partial(model.reconstruction, logits, x0, noisy)
        ).sum()
        timed("backward, s", loss.backward)
        timed("optimiser, s", work.optimizer.step)
        found["positions with noise"] += int((noisy.s > 0).sum())
    return {part: total / repeats for part, total in found.items()}


def cost_rows(scale: Scale) -> Iterator[Row]:
    """What is made once: seconds of graph and information curve, and the bytes of the tables."""
    vectors, p0 = embeddings(scale), marginal(scale)
    began = time.perf_counter()
    neighbours, cosines = nearest_by_cosine(
        vectors, scale.nearest, torch.zeros(scale.num_states, dtype=torch.bool)
    )
    yield {"what": "nearest neighbours, s", "value": time.perf_counter() - began}
    began = time.perf_counter()
    process = NeighbourGraph(neighbours, ((cosines.double() - 1) / 0.3).exp(), p0)
    yield {"what": "process, s", "value": time.perf_counter() - began}
    began = time.perf_counter()
    schedule = MutualInformation(process, p0)
    yield {"what": "information curve, s", "value": time.perf_counter() - began}
    yield {"what": "its largest standard error, share of H(p0)", "value": schedule.error}
    began = time.perf_counter()
    made = SCUD(process, schedule, p0=p0)
    yield {"what": "model, s", "value": time.perf_counter() - began}
    tensors = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in made.buffers()
    }
    kept = (process.neighbours, process.rates, process.marginal)
    yield {
        "what": "tables, MB",
        "value": (sum(tensors.values()) + sum(part.numel() * 8 for part in kept)) / 1e6,
    }


def steps_table(scale: Scale) -> Table:
    """Training steps."""
    text = (
        f"A training step of the transformer {scale.network} on {scale.batch} x {scale.length} tokens of {scale.num_states} "
        f"states, {scale.pairs} pairs of masking and the other, means; peak memory of three steps, all included."
    )
    return Table("many-states", text, list(step_rows(scale)))


def parts_table(scale: Scale) -> Table:
    """Where the seconds go."""
    text = (
        f"The parts of a training step by reconstruction, in order, without the bound that is watched: {scale.batch} x "
        f"{scale.length} tokens of {scale.num_states} states, means of {scale.pairs} draws."
    )
    return Table("many-states-parts", text, list(part_rows(scale)))


def costs_table(scale: Scale) -> Table:
    """What is made once."""
    text = f"Noise on the graph of {scale.num_states} embeddings of width {scale.width}, {scale.nearest} neighbours each."
    return Table("graph", text, list(cost_rows(scale)))
