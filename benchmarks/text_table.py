"""The models on text: same transformer and steps, the bound on validation text, and samples.

    python -m benchmarks.text_table characters DATA [--out runs/text-characters] [--steps 900] [--seeds 0 1] [--workers 2]
    python -m benchmarks.text_table words DATA

DATA is a folder. characters: text27_train.txt.gz and text27_valid.txt.gz, in a space and a to z. words: kjv.txt.gz, of which a
part is held out, and bert30522_knn.npz, a vocabulary of 30,522 entries with the nearest neighbours of each.

Each run is kept in its own folder under OUT; one that is finished is not trained again, one that was cut short is resumed. When
a run has been evaluated its row is written to OUT/rows.csv, and what is there is not done again. OUT/MODEL-SEED.txt holds
samples of the first seed. The bound is over the whole validation split; the interval covers which chunks are in it, and which
noise was drawn.

The graph of characters: each letter moves to the three whose neighbours in the text are most like its own, so that vowels mostly
turn into vowels and consonants into like consonants first. It says nothing of spaces, which no letter is like.
"""

import argparse
import csv
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import machine_line
from benchmarks.runs import Model, add_row, in_parallel, read_rows, start_rows, to_do, train_once
from scud.config import Config
from scud.data.text.figures import text_figures
from scud.evaluation import evaluate
from scud.recipes import RECIPES

ROWS = {
    "characters": {
        "SCUD, uniform": Model("scud", "uniform"),
        "SCUD, graph": Model("scud", "neighbour_graph"),
        "masking": Model("masking", "uniform"),
        "classical, uniform": Model("classical", "uniform"),
    },
    "words": {
        "masking": Model("masking", "uniform"),
        "SCUD, graph": Model("scud", "neighbour_graph"),
    },
}
"""What is trained, by table."""

FIGURES = {"characters": "bits_per_character", "words": "perplexity_per_token"}
"""What is reported, by table."""

OTHERS: dict[str, tuple[str, ...]] = {
    "characters": (),
    "words": ("bits_per_character", "perplexity_per_word"),
}
"""What is shown beside it, by table."""

HEADER = (
    "model",
    "seed",
    "figure",
    "low",
    "high",
    "bits_per_character",
    "perplexity_per_word",
    "prior",
    "seconds",
)
"""Columns of rows.csv: the figure with its 95% interval, two others, the prior term in nats per token, seconds of training."""

SHOWN = 4
"""Samples drawn."""


@dataclass(frozen=True)
class Table:
    """One set of data and its runs; samples are drawn for the seed `drawn`."""

    name: str
    data: Path
    out: Path
    steps: int
    repeats: int
    drawn: int


def configuration(table: Table, row: str, seed: int) -> Config:
    """The text recipe with the data of the table, another model, noise and seed."""
    folder, data, noise = table.data, dict[str, Any](), {"nearest": 3}
    training: dict[str, Any] = {"steps": table.steps, "validate_every": max(table.steps // 4, 1)}
    if table.name == "characters":
        data = {
            "train": folder / "text27_train.txt.gz",
            "valid": folder / "text27_valid.txt.gz",
            "tokens": "characters",
        }
    else:
        vocabulary = folder / "bert30522_knn.npz"
        data = {"train": folder / "kjv.txt.gz", "tokens": str(vocabulary), "length": 64}
        noise, training = (
            {"neighbours": vocabulary, "nearest": 10},
            training | {"batch_size": 16, "validation_examples": 100},
        )
    process = noise if ROWS[table.name][row].process == "neighbour_graph" else {}
    return ROWS[table.name][row].of(
        RECIPES["text"](), seed, data=data, training=training, process=process
    )


def one(table: Table, work: tuple[str, int]) -> None:
    """Train and evaluate one run, draw its samples, and write its row."""
    row, seed = work
    config = configuration(table, row, seed)
    folder = table.out / ROWS[table.name][row].folder(seed)
    run = train_once(config, folder)
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    texts = folder.with_suffix(".txt")
    if seed == table.drawn and not texts.exists():
        drawn = run.sample(SHOWN, generator=torch.Generator().manual_seed(seed))
        texts.write_text("\n----------\n".join(drawn) + "\n", encoding="utf-8")
    split = config.data.read().split("valid")
    result = evaluate(run.model, run.network, split, repeats=table.repeats, batch_size=64)
    figures = text_figures(result, split.text)
    chosen = getattr(figures, FIGURES[table.name])
    per_token = result.prior * result.examples / result.positions
    others = (
        figures.bits_per_character.value,
        figures.perplexity_per_word.value,
        per_token,
        seconds,
    )
    add_row(
        table.out / "rows.csv",
        [row, seed, *(f"{v:.5f}" for v in (chosen.value, chosen.low, chosen.high, *others))],
    )


def show(table: Table, seeds: list[int]) -> None:
    """Print the rows that are done, as Markdown."""
    done, figure, others = (
        read_rows(table.out / "rows.csv", "model", "seed"),
        FIGURES[table.name],
        OTHERS[table.name],
    )
    titles = [
        "model",
        f"{figure}, mean of seeds",
        "each seed (95% interval)",
        *others,
        "minutes a run",
    ]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}".replace("_", " "))
    for model in ROWS[table.name]:
        runs = [done[model, str(seed)] for seed in seeds if (model, str(seed)) in done]
        if runs:
            each = ", ".join(
                f"{float(r['figure']):.3f} ({float(r['low']):.3f} to {float(r['high']):.3f})"
                for r in runs
            )
            mean = {
                name: statistics.mean(float(run[name]) for run in runs)
                for name in ("figure", *others, "seconds")
            }
            rest = [f"{mean[name]:.4g}" for name in others]
            cells = [model, f"{mean['figure']:.3f}", each, *rest, f"{mean['seconds'] / 60:.0f}"]
            print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=list(ROWS), help="which")
    parser.add_argument("data", type=Path, help="the folder of the data")
    parser.add_argument(
        "--out", type=Path, default=None, help="where runs are kept; runs/text-TABLE by default"
    )
    parser.add_argument("--steps", type=int, default=900, help="optimiser steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of training")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--repeats", type=int, default=1, help="draws per chunk of validation text")
    options = parser.parse_args()
    out = options.out or Path("runs") / f"text-{options.table}"
    table = Table(
        options.table, options.data.resolve(), out, options.steps, options.repeats, options.seeds[0]
    )
    start_rows(
        out / "rows.csv", HEADER, f"{table.data}, {table.steps} steps, {table.repeats} draws"
    )
    print(machine_line(), flush=True)
    in_parallel(
        partial(one, table),
        to_do(out / "rows.csv", list(ROWS[table.name]), options.seeds),
        options.workers,
    )
    show(table, options.seeds)


if __name__ == "__main__":
    main()
