"""What compiling gives on this CPU: the network alone, as `training.compile` does there, and all of a step behind its noise.

    python -m benchmarks.compiled [--models SCUD] [--pairs 15] [--quick]

A training step with the network of the digits (17 states, 8 x 8 pixels, batch 64), one thread, over the same step without a
compiler, in pairs of alternating runs in one process; the second takes the path of fixed shapes (see `scud.numerics.devices`).
It needs a C++ compiler, and some minutes for each model. --quick compiles a smaller network without one, and says nothing.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks import cases
from benchmarks.report import Row, Table, machine_line
from benchmarks.steps import TrainingStep
from benchmarks.timing import compare
from scud.diffusion.compiled import CompiledObjective
from scud.networks import UNet
from scud.numerics import fixed_shapes
from scud.typing import Batch

STATES, SHAPE = 17, (64, 1, 8, 8)

CPU = torch.device("cpu")


def rows(name: str, pairs: int, *, quick: bool) -> Iterator[Row]:
    """Steps of a model that compile the network alone, then all behind the noise, each over the step without."""
    backend = "eager" if quick else "inductor"
    torch.manual_seed(0)
    model = cases.model(name, STATES)
    size = {"width": 8, "blocks": 1, "levels": 1} if quick else {"width": 32}
    network = UNet(STATES, SHAPE[1:], **size, dropout=0.0, head="mixed").train()
    batch = Batch(cases.images(model.p0, SHAPE))
    plain = TrainingStep(model, network, batch)
    alone = TrainingStep(model, copy.deepcopy(network), batch)
    alone.network.compile(backend=backend)
    whole = TrainingStep(model, copy.deepcopy(network), batch)
    whole.losses = CompiledObjective(model, backend=backend)
    kinds: list[tuple[str, TrainingStep, Callable[[], AbstractContextManager[None]]]] = [
        ("the network", alone, nullcontext),
        ("all behind the noise", whole, fixed_shapes),
    ]
    for what, work, path in kinds:

        def step(
            work: TrainingStep = work, path: Callable[[], AbstractContextManager[None]] = path
        ) -> None:
            with path():
                work.full()

        began = time.perf_counter()
        step()
        taken = time.perf_counter() - began
        found = compare(plain.full, step, CPU, pairs)
        row: dict[str, object] = {"model": name, "compiled": what, "to compile, s": taken}
        row |= {"step without, s": found.base, "step, s": found.full}
        yield {**row, "step / without": found.ratio, "±": found.error}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=cases.MODELS, choices=cases.MODELS)
    parser.add_argument("--pairs", type=int, default=15, help="of runs, at least 2")
    parser.add_argument("--quick", action="store_true", help="in miniature: shows that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine_line())
    found = [
        row for name in options.models for row in rows(name, options.pairs, quick=options.quick)
    ]
    print(Table("compiled", "A training step, compiled, over the same without.", found).markdown())


if __name__ == "__main__":
    main()
