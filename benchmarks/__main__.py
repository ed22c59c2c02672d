"""Tables of what scud costs, as Markdown and JSON.

    python -m benchmarks [--tables step sampling ...] [--threads 2] [--pairs 5] [--quick] [--out runs/bench]

step, memory and sampling: over the network alone, in one run. overhead: seconds without a network, tables, schedules.
growth: with B, D, batch and steps. data: batches of images. proteins: steps of the proteins recipe. graph and
many-states: noise on a graph of 30,522 states. peers: other libraries on the same work.

Each table is printed when it is done; all of them are written to bench.md and bench.json.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import many_states, overhead, peers, proteins_step, steps
from benchmarks.cases import Scale
from benchmarks.report import Table, machine, machine_line, write

CPU = torch.device("cpu")

TABLES: dict[str, Callable[[Scale, bool], Table]] = {
    "step": lambda scale, _: Table(
        "step", steps.training_text(scale), list(steps.training_rows(scale, CPU))
    ),
    "memory": lambda scale, _: Table(
        "memory", steps.memory_text(scale), list(steps.memory_rows(scale, CPU))
    ),
    "sampling": lambda scale, _: Table(
        "sampling", steps.sampling_text(scale), list(steps.sampling_rows(scale, CPU))
    ),
    "overhead": lambda scale, _: overhead.overhead_table(scale),
    "growth": lambda _, quick: overhead.growth_table(
        overhead.Ranges.quick() if quick else overhead.Ranges()
    ),
    "data": lambda scale, quick: overhead.data_table(scale, 300 if quick else 20_000),
    "proteins": lambda _, quick: proteins_step.proteins_table(
        proteins_step.Scale.quick() if quick else proteins_step.Scale()
    ),
    "graph": lambda _, quick: many_states.costs_table(
        many_states.Scale.quick() if quick else many_states.Scale()
    ),
    "many-states": lambda _, quick: many_states.steps_table(
        many_states.Scale.quick() if quick else many_states.Scale()
    ),
    "many-states-parts": lambda _, quick: many_states.parts_table(
        many_states.Scale.quick() if quick else many_states.Scale()
    ),
    "peers": lambda scale, quick: peers.peers_table(scale, 4 if quick else 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tables", nargs="+", choices=TABLES, default=list(TABLES), help="which; all by default"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads PyTorch may use")
    parser.add_argument(
        "--pairs",
        type=int,
        default=Scale.pairs,
        help="pairs of runs per row, at least 2; many-states: 20",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, data and noise")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that all runs, not how fast"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="folder for bench.md and bench.json"
    )
    options = parser.parse_args()
    if options.pairs < 2 or options.threads < 1:
        parser.error("--pairs must be at least 2 and --threads at least 1")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    scale = replace(Scale(), pairs=options.pairs)
    scale = scale.quick() if options.quick else scale
    print(machine_line(options.seed), flush=True)
    tables = []
    for name in options.tables:
        tables.append(TABLES[name](scale, options.quick))
        print(f"\n{tables[-1].markdown()}", end="", flush=True)
        write(options.out, "bench", machine(options.seed), tables)
    print(f"\nWrote {options.out / 'bench.md'} and {options.out / 'bench.json'}.")


if __name__ == "__main__":
    main()
