"""What training for infilling gains where it is wanted and costs elsewhere, on a family of proteins.

    python -m benchmarks.infilling FOLDER_OF_DATA [--table runs/globins-table] [--out runs/infilling] [--steps 600]

SCUD with BLOSUM62 noise, the recipe and steps of `benchmarks.proteins_table globins`, with a share of examples in which a
random part of the positions is kept clean (`training.infill_share`). Share 0 is that table's own run. Validation perplexity
per residue, unconditional, and of a random span of a fifth of each sequence given the rest; each the mean of four
evaluations, ± the error of evaluation. The same noise and the same spans for every share.
"""

import argparse
import math
import statistics
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.proteins_table import EVALUATIONS, Table, configuration, folder_name
from benchmarks.runs import machine, train_once
from scud.evaluation import evaluate
from scud.experiment import load_data
from scud.runs import Run
from scud.training.infilling import draw_span
from scud.typing import Batch

ROW = "SCUD, BLOSUM62"
SPAN = 0.2


def span(batch: Batch, generator: torch.Generator) -> Tensor:
    """All but a random fifth is known."""
    assert batch.mask is not None, "sequences are padded"
    return batch.mask & ~draw_span(batch.mask, SPAN, generator)


def perplexity(run: Run, table: Table, *, spans: bool, repeats: int) -> tuple[float, float]:
    """Mean of several evaluations, and the error of that mean."""
    valid = load_data(configuration(table, ROW, 0).data).split("valid")
    known = span if spans else None
    results = [
        evaluate(run.model, run.network, valid, repeats=repeats, seed=seed, known=known).nats_per_position
        for seed in range(EVALUATIONS)
    ]
    mean, error = statistics.mean(results), statistics.stdev(results) / math.sqrt(EVALUATIONS)
    return math.exp(mean), math.exp(mean) * error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument(
        "--table", type=Path, default=Path("runs/globins-table"), help="runs of benchmarks.proteins_table"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/infilling"), help="where runs are kept")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3, 0.6], help="of training.infill_share")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of training")
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each run")
    parser.add_argument("--repeats", type=int, default=40, help="draws per sequence in each of the evaluations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{machine()}\n| infill_share | seed | perplexity | of a span of a fifth, given the rest |\n|---|---|---|---|",
        flush=True,
    )
    for share in options.shares:
        for seed in options.seeds:
            chosen: dict[str, dict[str, object]] = {"training": {"infill_share": share}} if share else {}
            table = Table("globins", options.data, options.out, options.steps, None, options.repeats, 2000, chosen)
            folder = options.table if share == 0 else options.out / f"share-{share:g}"
            run = train_once(configuration(table, ROW, seed), folder / folder_name(ROW, seed))
            figures = [perplexity(run, table, spans=spans, repeats=options.repeats) for spans in (False, True)]
            shown = " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in figures)
            print(f"| {share:g} | {seed} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
