"""What it costs that files survive a power cut and that damage is noticed: locks, checksums, digests, waiting for the disk.

    python -m benchmarks.safety [--steps 60] [--rounds 5] [--threads 1]

A short run of the digits recipe is trained, and loaded again, as the commands do it, while every call of what is there for
safety alone is timed. Shares are of the wall time of training (after the data are read) and of loading; errors are over rounds.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import machine_line
from scud import experiment, runs
from scud.config import Config, changed
from scud.data import Data
from scud.files import locks, tensors
from scud.recipes import RECIPES
from scud.training import checkpoint

Seconds = dict[str, float]

_WRITING = (
    locks.not_written.__globals__
)  # the module, whose name in the package is that of its function

PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "waiting for the disk": ((_WRITING, "_sync"), (_WRITING, "sync_folder")),
    "locks": ((vars(locks), "_acquired"), (vars(locks), "_let_go")),
    "digests of the data": ((Data, "digests"),),
    "looking for NaN": ((vars(checkpoint), "is_finite"), (vars(runs), "_check_finite")),
    "sums of checkpoints": ((vars(checkpoint), "_check_archive"),),
}
"""What is there for safety alone, and the functions that do it, by where their names stand."""


class TimedHash:
    """A hash whose work is timed."""

    def __init__(self, begun: Any, spent: Seconds) -> None:
        self.begun, self.spent = begun, spent
        self.hexdigest = begun.hexdigest

    def update(self, content: Any) -> None:
        with timing(self.spent, "checksums of models"):
            self.begun.update(content)


@contextmanager
def timing(spent: Seconds, name: str) -> Iterator[None]:
    """Add the seconds of a block."""
    began = time.perf_counter()
    try:
        yield
    finally:
        spent[name] += time.perf_counter() - began


def timed(function: Callable[..., Any], spent: Seconds, name: str) -> Callable[..., Any]:
    """A function whose calls are timed."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        with timing(spent, name):
            return function(*arguments, **options)

    return call


def instrument(spent: Seconds) -> None:
    """Time the calls of `PARTS` and the checksums of models from now on."""
    for name, places in PARTS.items():
        for place, function in places:
            if isinstance(place, dict):
                place[function] = timed(place[function], spent, name)
            else:
                setattr(place, function, timed(getattr(place, function), spent, name))
    digest = tensors._digest
    tensors._digest = lambda begin: TimedHash(digest(begin), spent)  # type: ignore[assignment,return-value]


def one_round(config: Config, folder: Path, spent: Seconds) -> tuple[dict[str, float], float]:
    """The seconds of each part in training and in loading, and of these themselves."""
    spent.clear()
    began = time.perf_counter()
    experiment.train(config, folder, device="cpu", progress=False)
    trained, whole = dict(spent), time.perf_counter() - began
    spent.clear()
    began = time.perf_counter()
    runs.load(folder)
    shares = {f"training: {name}": seconds / whole for name, seconds in trained.items()}
    loading = time.perf_counter() - began
    shares |= {f"loading: {name}": seconds / loading for name, seconds in spent.items()}
    shares["training: all"] = sum(trained.values()) / whole
    shares["loading: all"] = sum(spent.values()) / loading
    return shares, whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60, help="steps of training")
    parser.add_argument("--rounds", type=int, default=5, help="runs, each new")
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine_line())
    spent: Seconds = defaultdict(float)
    instrument(spent)
    config = changed(
        RECIPES["digits"](), {"training.steps": options.steps, "threads": options.threads}
    )
    found: dict[str, list[float]] = defaultdict(list)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            shares, whole = one_round(config, Path(folder) / f"run-{number}", spent)
            seconds.append(whole)
            for name, share in shares.items():
                found[name].append(share)
    print(f"\n{options.steps} steps in {statistics.mean(seconds):.1f} s; {options.rounds} rounds\n")
    print("| what | % of the time |\n|---|---|")
    for name, values in sorted(found.items()):
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        print(f"| {name} | {100 * statistics.mean(values):.2f} ± {100 * error:.2f} |")


if __name__ == "__main__":
    main()
