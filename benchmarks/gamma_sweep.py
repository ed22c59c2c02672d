"""Bits/dim on digits against gamma, from full schedule information to none: SCUD with Gaussian noise, and classical.

    python -m benchmarks.gamma_sweep [--folder runs/digits-table] [--gammas 1 0.7 0.4 0.1] [--seeds 0 1 2] [--workers 2]

Same network and steps for each, bits/dim on the test split. Runs are kept in the folder, which may be that of
`benchmarks.digits_table`: one that is finished is not trained again, one that was cut short is resumed, and its runs of masking,
where they are finished, are drawn as a dashed line. Prints a table, and draws FOLDER/gamma.png with the standard error over
seeds (of evaluation, where there is one seed alone). gamma = 0 stands for the classical model.
"""

import argparse
import functools
import math
import multiprocessing
import statistics
from pathlib import Path

import torch

from benchmarks.digits_table import configuration, folder_name
from benchmarks.runs import machine, train_once
from scud import plots
from scud.config import Config
from scud.evaluation import evaluate
from scud.experiment import load_data


def model_of(gamma: float, seed: int, steps: int | None) -> tuple[str, Config]:
    """Folder and configuration of one run; gamma = 0 is classical."""
    kind, share = ("classical", 1.0) if gamma == 0 else ("scud", gamma)
    return folder_name(kind, "gaussian", seed, share), configuration(kind, "gaussian", seed, gamma=share, steps=steps)


def one(folder: Path, repeats: int, work: tuple[str, Config]) -> tuple[float, float]:
    """Train and evaluate one run: bits/dim and its standard error."""
    torch.set_num_threads(1)
    name, config = work
    trained = train_once(config, folder / name)
    result = evaluate(trained.model, trained.network, load_data(config.data).split("test"), repeats=repeats)
    print(f"{name}: {result.bits_per_dim:.4f} ± {result.bits_per_dim_error:.4f} bits/dim", flush=True)
    return result.bits_per_dim, result.bits_per_dim_error


def summary(results: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean over seeds, and its standard error; of evaluation for one seed."""
    bits = [value for value, _ in results]
    error = statistics.stdev(bits) / math.sqrt(len(bits)) if len(bits) > 1 else results[0][1]
    return statistics.mean(bits), error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-table"), help="where runs are kept")
    parser.add_argument("--gammas", type=float, nargs="+", default=[1, 0.7, 0.4, 0.1], help="besides classical")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training")
    parser.add_argument("--train-steps", type=int, default=None, help="steps of training; the recipe's by default")
    parser.add_argument("--repeats", type=int, default=64, help="draws per test example")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    gammas = [*options.gammas, 0.0]
    work = [model_of(gamma, seed, options.train_steps) for gamma in gammas for seed in options.seeds]
    masking = [
        (
            folder_name("masking", "gaussian", seed),
            configuration("masking", "gaussian", seed, steps=options.train_steps),
        )
        for seed in options.seeds
    ]
    if all((options.folder / name / "finished").exists() for name, _ in masking):
        work += masking
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        results = pool.map(functools.partial(one, options.folder, options.repeats), work, chunksize=1)
    size = len(options.seeds)
    rows = [results[start : start + size] for start in range(0, len(results), size)]
    names = [*(f"SCUD, gamma = {gamma:g}" for gamma in options.gammas), "classical", "masking"]
    print("| model | bits/dim, mean ± s.e. over seeds | each seed | s.e. of one evaluation |\n|---|---|---|---|")
    for name, row in zip(names, rows, strict=False):
        mean, error = summary(row)
        over = f"{error:.3f}" if size > 1 else "-"
        print(f"| {name} | {mean:.3f} ± {over} | {', '.join(f'{bits:.3f}' for bits, _ in row)} | {row[0][1]:.3f} |")
    means, errors = zip(*(summary(row) for row in rows[: len(gammas)]), strict=True)
    dashed = summary(rows[len(gammas)])[0] if len(rows) > len(gammas) else None
    target = options.folder / "gamma.png"
    plots.save_figure(plots.gamma_curve(gammas, means, errors, "bits/dim", dashed), target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
