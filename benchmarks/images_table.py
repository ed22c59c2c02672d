"""The models on images: same U-Net and steps, validation bits/dim, two seeds each, and pictures of samples.

    python -m benchmarks.images_table FILE.npz --levels 256 [--out runs/images-256] [--steps 1500] [--seeds 0 1] [--workers 2]

Each run is kept in its own folder under OUT; one that is finished is not trained again, one that was cut short is resumed. When
a run has been evaluated its row is written to OUT/rows.csv, and what is there is not done again. OUT/MODEL-SEED.png shows
samples of the first seed. bits/dim are over the whole validation split; the standard error covers which images are in it and
which noise was drawn. All models see the same images, so that they share the first part.
"""

import argparse
import csv
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.report import machine_line
from benchmarks.runs import Model, add_row, in_parallel, read_rows, start_rows, to_do, train_once
from scud import plots
from scud.config import Config
from scud.evaluation import evaluate
from scud.recipes import RECIPES

ROWS = {
    "SCUD, Gaussian": Model("scud"),
    "SCUD, uniform": Model("scud", "uniform"),
    "masking": Model("masking", "uniform"),
    "classical, Gaussian": Model("classical"),
}

HEADER = ("model", "seed", "bits", "error", "prior", "seconds")
"""Columns of rows.csv: bits/dim, its standard error, the prior term in it, seconds of training."""


@dataclass(frozen=True)
class Table:
    """One set of data and its runs; samples are drawn for the seed `drawn`."""

    data: Path
    levels: int
    out: Path
    steps: int
    repeats: int
    drawn: int
    samples: int


def configuration(table: Table, row: str, seed: int) -> Config:
    """The small images recipe with the data of the table, another model, noise and seed."""
    data = {"train": table.data, "num_states": table.levels}
    training = {"steps": table.steps, "validate_every": max(table.steps // 4, 1)}
    return ROWS[row].of(RECIPES["fashion_mnist"](), seed, data=data, training=training)


def one(table: Table, work: tuple[str, int]) -> None:
    """Train and evaluate one run, draw its samples, and write its row."""
    row, seed = work
    config = configuration(table, row, seed)
    folder = table.out / ROWS[row].folder(seed)
    run = train_once(config, folder)
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    picture = folder.with_suffix(".png")
    if seed == table.drawn and not picture.exists():
        drawn = run.draw(table.samples, generator=torch.Generator().manual_seed(seed)).states
        plots.save_image(plots.sample_grid(torch.stack(drawn).numpy(), table.levels), picture)
    result = evaluate(
        run.model,
        run.network,
        config.data.read().split("valid"),
        repeats=table.repeats,
        batch_size=64,
    )
    figures = (
        result.bits_per_dim,
        result.bits_per_dim_error,
        result.term_bits_per_dim(result.prior),
        seconds,
    )
    values = [row, seed, *(f"{figure:.5f}" for figure in figures)]
    add_row(table.out / "rows.csv", values)


def show(path: Path, seeds: list[int]) -> None:
    """Print the rows that are done, as Markdown."""
    done = read_rows(path, "model", "seed")
    print(
        "| model | bits/dim, mean of seeds | each seed ± standard error | prior term | minutes a run |\n|---|---|---|---|---|"
    )
    for model in ROWS:
        runs = [done[model, str(seed)] for seed in seeds if (model, str(seed)) in done]
        if runs:
            each = ", ".join(
                f"{float(run['bits']):.3f} ± {float(run['error']):.3f}" for run in runs
            )
            bits, prior, seconds = (
                statistics.mean(float(run[name]) for run in runs)
                for name in ("bits", "prior", "seconds")
            )
            print(f"| {model} | {bits:.3f} | {each} | {prior:.4f} | {seconds / 60:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the .npz file")
    parser.add_argument(
        "--levels", type=int, default=256, help="levels that pixels are quantised to"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where runs are kept; runs/images-LEVELS by default"
    )
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of training")
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), choices=list(ROWS), help="which rows"
    )
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--repeats", type=int, default=1, help="draws per validation image")
    parser.add_argument("--samples", type=int, default=32, help="images in each picture")
    options = parser.parse_args()
    out = options.out or Path("runs") / f"images-{options.levels}"
    drawn = (options.seeds[0], options.samples)
    table = Table(
        options.data.resolve(), options.levels, out, options.steps, options.repeats, *drawn
    )
    made_with = f"{table.data}, {table.levels} levels, {table.steps} steps, {table.repeats} draws"
    start_rows(out / "rows.csv", HEADER, made_with)
    print(machine_line(), flush=True)
    in_parallel(
        partial(one, table), to_do(out / "rows.csv", options.rows, options.seeds), options.workers
    )
    show(out / "rows.csv", options.seeds)


if __name__ == "__main__":
    main()
