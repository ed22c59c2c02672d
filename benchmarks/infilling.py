"""What training for infilling gains where it is wanted and costs elsewhere, on a family of proteins.

    python -m benchmarks.infilling FOLDER_OF_DATA [--table runs/globins-table] [--out runs/infilling] [--steps 600]

SCUD with BLOSUM62 noise, the recipe and steps of `benchmarks.proteins_table globins`, with a share of examples in which a
random part of the positions is kept clean (`training.infill_share`). Share 0 is that table's own run. Validation perplexity
per residue, unconditional, and of a random span of a fifth of each sequence given the rest; each the mean of eight
evaluations, ± the error of evaluation. Every share sees the same noise and the same spans, so the differences to the first
share, in nats per residue, have smaller errors; these are of evaluation too, for one training each.
"""

import argparse
import math
import statistics
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.proteins_table import ROWS, Table, configuration
from benchmarks.report import machine_line
from benchmarks.runs import train_once
from scud.evaluation import evaluate
from scud.runs import Run
from scud.training.infilling import draw_span
from scud.typing import Batch

ROW = "SCUD, BLOSUM62"
SPAN = 0.2
EVALUATIONS = 8


def span(batch: Batch, generator: torch.Generator) -> Tensor:
    """All but a random fifth is known."""
    assert batch.mask is not None, "sequences are padded"
    return batch.mask & ~draw_span(batch.mask, SPAN, generator)


def nats(run: Run, table: Table, *, spans: bool, repeats: int) -> list[float]:
    """Nats per residue of several evaluations, each with a seed of its own."""
    valid = configuration(table, ROW, 0).data.read().split("valid")
    known = span if spans else None
    return [
        evaluate(
            run.model, run.network, valid, repeats=repeats, seed=seed, known=known
        ).nats_per_position
        for seed in range(EVALUATIONS)
    ]


def with_error(values: list[float]) -> tuple[float, float]:
    """Mean, and its standard error."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path("runs/globins-table"),
        help="runs of benchmarks.proteins_table",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/infilling"), help="where runs are kept"
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.0, 0.3, 0.6], help="of training.infill_share"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of training")
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each run")
    parser.add_argument(
        "--repeats", type=int, default=12, help="draws per sequence in each evaluation"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine_line())
    print(
        "| seed | infill_share | whole, perplexity | difference, nats | span, perplexity | difference, nats |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for seed in options.seeds:
        first: dict[bool, list[float]] = {}
        for share in options.shares:
            chosen: dict[str, dict[str, object]] = (
                {"training": {"infill_share": share}} if share else {}
            )
            table = Table(
                "globins",
                options.data,
                options.out,
                options.steps,
                None,
                options.repeats,
                2000,
                chosen,
            )
            folder = options.table if share == 0 else options.out / f"share-{share:g}"
            run = train_once(configuration(table, ROW, seed), folder / ROWS[ROW].folder(seed))
            cells = []
            for spans in (False, True):
                found = nats(run, table, spans=spans, repeats=options.repeats)
                mean, error = with_error(found)
                pairs = zip(found, first.setdefault(spans, found), strict=True)
                change, doubt = with_error([after - before for after, before in pairs])
                cells += [
                    f"{math.exp(mean):.3f} ± {math.exp(mean) * error:.3f}",
                    f"{change:+.4f} ± {doubt:.4f}",
                ]
            print(f"| {seed} | {share:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
