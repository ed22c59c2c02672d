"""The models on digits: same network and steps, several seeds each, bits/dim on the test split.

    python -m benchmarks.digits_table [--folder runs/digits-table] [--seeds 0 1 2] [--workers 2]

Each run is kept in its own folder; one that is finished is not trained again, one that was cut short is resumed. A row is the
mean over seeds ± standard error of that mean, beside the error of one evaluation.
"""

import argparse
import math
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.report import machine_line
from benchmarks.runs import Model, in_parallel, train_once
from scud.config import Config
from scud.evaluation import evaluate
from scud.recipes import RECIPES

ROWS = {
    "SCUD, Gaussian": Model("scud"),
    "SCUD, uniform": Model("scud", "uniform"),
    "masking": Model("masking"),
    "classical, Gaussian": Model("classical"),
}


@dataclass(frozen=True)
class Figures:
    """bits/dim of each seed, and the standard error of the first seed's evaluation."""

    bits: tuple[float, ...]
    evaluation: float

    @property
    def mean(self) -> float:
        return statistics.mean(self.bits)

    @property
    def error(self) -> float:
        """Standard error over seeds; of evaluation where there is one seed."""
        return (
            statistics.stdev(self.bits) / math.sqrt(len(self.bits))
            if len(self.bits) > 1
            else self.evaluation
        )


def configuration(model: Model, seed: int, steps: int | None) -> Config:
    """The digits recipe with a model, a seed, and perhaps another number of steps."""
    return model.of(RECIPES["digits"](), seed, training={} if steps is None else {"steps": steps})


def one(options: argparse.Namespace, work: tuple[Model, int]) -> tuple[float, float]:
    """Train and evaluate one run: bits/dim and its standard error."""
    model, seed = work
    config = configuration(model, seed, options.train_steps)
    run = train_once(config, options.folder / model.folder(seed))
    result = evaluate(
        run.model, run.network, config.data.read().split("test"), repeats=options.repeats
    )
    print(
        f"{model.folder(seed)}: {result.bits_per_dim:.4f} ± {result.bits_per_dim_error:.4f} bits/dim",
        flush=True,
    )
    return result.bits_per_dim, result.bits_per_dim_error


def table(rows: dict[str, Model], options: argparse.Namespace) -> dict[str, Figures]:
    """Train, evaluate and print the rows."""
    options.folder.mkdir(parents=True, exist_ok=True)
    print(machine_line(), flush=True)
    work = [(model, seed) for model in rows.values() for seed in options.seeds]
    results = in_parallel(partial(one, options), work, options.workers)
    count, found = len(options.seeds), dict[str, Figures]()
    print(
        "| model | bits/dim, mean ± s.e. over seeds | each seed | s.e. of one evaluation |\n|---|---|---|---|"
    )
    for place, name in enumerate(rows):
        mine = results[place * count : (place + 1) * count]
        row = found[name] = Figures(tuple(bits for bits, _ in mine), mine[0][1])
        each = ", ".join(f"{bits:.3f}" for bits in row.bits)
        print(f"| {name} | {row.mean:.3f} ± {row.error:.3f} | {each} | {row.evaluation:.3f} |")
    return found


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of tables of digits."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--folder", type=Path, default=Path("runs/digits-table"), help="where runs are kept"
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of training")
    made.add_argument(
        "--train-steps", type=int, default=None, help="steps of training; the recipe's by default"
    )
    made.add_argument("--repeats", type=int, default=64, help="draws per test example")
    made.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    return made


def main() -> None:
    options = parser(__doc__).parse_args()
    table(ROWS, options)


if __name__ == "__main__":
    main()
