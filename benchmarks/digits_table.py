"""The three models on digits: same network and steps, three seeds each, bits/dim on the test split.

    python -m benchmarks.digits_table [--folder runs/digits-table] [--seeds 0 1 2] [--threads 1]

Each run is kept in its own folder; one that is finished is not trained again, one that was cut short is resumed. A row is
printed when its three runs are done: mean over seeds ± standard error of that mean, beside the error of one evaluation.
"""

import argparse
import math
import statistics
from pathlib import Path

import torch

from benchmarks.report import machine_line
from benchmarks.runs import train_once
from scud.config import Config, DiffusionConfig, ProcessConfig
from scud.evaluation import evaluate
from scud.experiment import load_data
from scud.recipes import RECIPES

ROWS = {
    "SCUD, Gaussian": ("scud", "gaussian"),
    "SCUD, uniform": ("scud", "uniform"),
    "masking": ("masking", "gaussian"),
    "classical, Gaussian": ("classical", "gaussian"),
}


def configuration(kind: str, process: str, seed: int, *, gamma: float = 1.0, steps: int | None = None) -> Config:
    """The digits recipe with another model, noise and seed, and perhaps another gamma and number of steps."""
    recipe = RECIPES["digits"]()
    noise = ProcessConfig(**{**recipe.process.model_dump(), "kind": process})
    diffusion = DiffusionConfig(**{**recipe.diffusion.model_dump(), "kind": kind, "gamma": gamma})
    parts = {"seed": seed, "process": noise, "diffusion": diffusion}
    if steps is not None:
        parts["training"] = recipe.training.model_copy(update={"steps": steps})
    return recipe.model_copy(update=parts)


def folder_name(kind: str, process: str, seed: int, gamma: float = 1.0) -> str:
    """The folder of a run."""
    return f"{kind}-{process}-{seed}" if gamma == 1 else f"{kind}-{process}-gamma{gamma:g}-{seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/digits-table"), help="where runs are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training")
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    parser.add_argument("--repeats", type=int, default=64, help="draws per test example")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), help="which rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine_line(), flush=True)
    print(
        "| model | bits/dim, mean ± s.e. over seeds | each seed | s.e. of one evaluation |\n|---|---|---|---|",
        flush=True,
    )
    for name in options.rows:
        kind, process = ROWS[name]
        folders = [options.folder / folder_name(kind, process, seed) for seed in options.seeds]
        done = []
        for seed, folder in zip(options.seeds, folders, strict=True):
            trained = train_once(configuration(kind, process, seed), folder)
            test = load_data(RECIPES["digits"]().data).split("test")
            done.append(evaluate(trained.model, trained.network, test, repeats=options.repeats))
        bits = [result.bits_per_dim for result in done]
        error = statistics.stdev(bits) / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
        each = ", ".join(f"{value:.3f}" for value in bits)
        print(
            f"| {name} | {statistics.mean(bits):.3f} ± {error:.3f} | {each} | {done[0].bits_per_dim_error:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
