"""What the control variate saves: how far evaluations with different seeds differ, with it and without.

    python -m benchmarks.evaluation_noise RUN [--repeats 1] [--examples 500] [--seeds 12]

For a run on sequences or images, on its validation data: the standard deviation between evaluations, in nats per position, from
the same draws in both rows.
"""

import argparse
import math
import statistics
from pathlib import Path
from unittest import mock

import torch

from benchmarks.report import machine_line
from scud.config import read_config
from scud.evaluation import bound, evaluate
from scud.runs import load


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument(
        "--repeats", type=int, default=1, help="draws per example in each evaluation"
    )
    parser.add_argument(
        "--examples", type=int, default=500, help="at most so many validation examples"
    )
    parser.add_argument("--seeds", type=int, default=12, help="evaluations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, valid = (
        load(options.run),
        read_config(options.run / "config.yaml").data.read().split("valid"),
    )
    valid = valid.part(options.examples)
    print(
        f"{machine_line()}; {len(valid)} examples, {options.repeats} draws of each, {options.seeds} seeds"
    )
    print(
        "| control variate | mean, nats per position | standard deviation between seeds |\n|---|---|---|",
        flush=True,
    )
    for name, enough in (("yes", bound.ENOUGH), ("no", math.inf)):
        with mock.patch("scud.evaluation.bound.ENOUGH", enough):
            nats = [
                evaluate(
                    run.model, run.network, valid, repeats=options.repeats, seed=seed
                ).nats_per_position
                for seed in range(options.seeds)
            ]
        print(
            f"| {name} | {statistics.mean(nats):.4f} | {statistics.stdev(nats):.4f} |", flush=True
        )


if __name__ == "__main__":
    main()
