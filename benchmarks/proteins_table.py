"""The models on proteins: same ByteNet and steps, validation perplexity per residue, two seeds each.

    python -m benchmarks.proteins_table globins FOLDER_OF_DATA [--out runs/globins-table] [--steps 600] [--workers 2]
    python -m benchmarks.proteins_table proteins FOLDER_OF_DATA [--out runs/proteins-table] [--steps 600] [--workers 2]

FOLDER_OF_DATA holds NAME_train.fasta and NAME_valid.fasta, perhaps with .gz. Each run is kept in its own folder; one that is
finished is not trained again, one that was cut short is resumed. When a run has been evaluated its row is written to
OUT/rows.csv, and what is there is not done again. A figure is the mean of several evaluations with seeds of their own; their
spread gives the error of evaluation, that of the noise alone. The 95% interval of a single evaluation also covers which
sequences are in the set. The gain is over letters drawn independently by their frequency, in nats per residue; its error covers
which sequences are in the set, as the interval does, and is smaller, since sequences differ most in what their letters are
worth. `--from FOLDER` starts each run from the weights of the run of the same name in another table.
"""

import argparse
import math
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import machine_line
from benchmarks.runs import Model, add_row, in_parallel, read_rows, start_rows, to_do, train_once
from scud.config import Config, to_values
from scud.evaluation import evaluate
from scud.recipes import RECIPES

ROWS = {
    "SCUD, BLOSUM62": Model("scud", "blosum62"),
    "SCUD, uniform": Model("scud", "uniform"),
    "masking": Model("masking", "uniform"),
    "classical, BLOSUM62": Model("classical", "blosum62"),
}

EVALUATIONS = 4

HEADER = ("model", "seed", "perplexity", "error", "low", "high", "gain", "gain_error")
"""Columns of rows.csv."""


@dataclass(frozen=True)
class Table:
    """One set of data and its runs."""

    name: str
    data: Path
    out: Path
    steps: int
    start: Path | None
    repeats: int
    sequences: int
    options: dict[str, dict[str, object]]


def find(folder: Path, name: str) -> Path:
    """NAME.fasta or NAME.fasta.gz in a folder."""
    plain = folder / f"{name}.fasta"
    return plain if plain.exists() else folder / f"{name}.fasta.gz"


def configuration(table: Table, row: str, seed: int) -> Config:
    """The proteins recipe with the data of the table, another model, noise and seed."""
    model, options = ROWS[row], dict(table.options)
    files = {
        "train": find(table.data, f"{table.name}_train"),
        "valid": find(table.data, f"{table.name}_valid"),
    }
    process = options.pop("process", {})
    training = {"steps": table.steps, "validate_every": table.steps, **options.pop("training", {})}
    start = None if table.start is None else table.start / model.folder(seed)
    return model.of(
        RECIPES["proteins"](),
        seed,
        init_from=start,
        data=files,
        process=process,
        training=training,
        **options,
    )


def one(table: Table, work: tuple[str, int]) -> None:
    """Train and evaluate one run, and write its row."""
    row, seed = work
    config = configuration(table, row, seed)
    trained = train_once(config, table.out / ROWS[row].folder(seed))
    valid = config.data.read().split("valid").part(table.sequences)
    results = [
        evaluate(trained.model, trained.network, valid, repeats=table.repeats, seed=s)
        for s in range(EVALUATIONS)
    ]
    nats = [result.nats_per_position for result in results]
    mean, error = statistics.mean(nats), statistics.stdev(nats) / math.sqrt(EVALUATIONS)
    reach = 1.96 * results[0].standard_error
    gain = statistics.mean(result.gain for result in results)
    figures = [
        math.exp(mean),
        math.exp(mean) * error,
        math.exp(mean - reach),
        math.exp(mean + reach),
    ]
    values = [row, seed, *(f"{figure:.5f}" for figure in (*figures, gain, results[0].gain_error))]
    add_row(table.out / "rows.csv", values)


def show(path: Path, seeds: list[int]) -> None:
    """Print the rows that are done, as Markdown."""
    done = read_rows(path, "model", "seed")
    print(
        "| model | perplexity, mean of seeds | each seed ± error of evaluation | 95% interval, first seed "
        "| gain of each seed ± standard error |\n|---|---|---|---|---|"
    )
    for model in ROWS:
        runs = [done[model, str(seed)] for seed in seeds if (model, str(seed)) in done]
        if runs:
            figures = [{name: float(run[name]) for name in HEADER[2:]} for run in runs]
            each = ", ".join(f"{run['perplexity']:.3f} ± {run['error']:.3f}" for run in figures)
            gains = ", ".join(f"{run['gain']:.4f} ± {run['gain_error']:.4f}" for run in figures)
            mean, interval = (
                statistics.mean(run["perplexity"] for run in figures),
                f"{figures[0]['low']:.2f} to {figures[0]['high']:.2f}",
            )
            print(f"| {model} | {mean:.3f} | {each} | {interval} | {gains} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=["globins", "proteins"], help="which data")
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument(
        "--out", type=Path, default=None, help="where runs are kept; runs/NAME-table by default"
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        default=None,
        help="folder of another table, to start from",
    )
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of training")
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), choices=list(ROWS), help="which rows"
    )
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument(
        "--repeats", type=int, default=16, help="draws per sequence in each of the evaluations"
    )
    parser.add_argument(
        "--sequences", type=int, default=2000, help="validation sequences used, spread over lengths"
    )
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="SECTION.OPTION=VALUE",
        help="other options of the recipe",
    )
    options = parser.parse_args()
    chosen: dict[str, dict[str, object]] = {}
    for text in options.set:
        section, _, rest = text.partition(".")
        option, _, value = rest.partition("=")
        if not isinstance(to_values(RECIPES["proteins"]()).get(section), dict) or not option:
            parser.error(f"--set must be like training.steps=600, got {text}")
        chosen.setdefault(section, {})[option] = None if value == "none" else value
    out = options.out or Path("runs") / f"{options.name}-table"
    amount = (options.repeats, options.sequences)
    table = Table(
        options.name, options.data.resolve(), out, options.steps, options.start, *amount, chosen
    )
    made_with = f"{table.data}, {table.steps} steps, start {table.start}, {amount[0]} draws of {amount[1]} sequences, {chosen}"
    start_rows(out / "rows.csv", HEADER, made_with)
    print(machine_line(), flush=True)
    in_parallel(
        partial(one, table), to_do(out / "rows.csv", options.rows, options.seeds), options.workers
    )
    show(out / "rows.csv", options.seeds)


if __name__ == "__main__":
    main()
