"""What the tables share: runs that are trained once, resumed when they were cut short, and loaded when they are finished."""

import csv
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from scud.config import Config, differences, read_config
from scud.errors import fail
from scud.experiment import train
from scud.runs import Run, load

Work, Result = TypeVar("Work"), TypeVar("Result")


def in_parallel(function: Callable[[Work], Result], work: Sequence[Work], workers: int) -> list[Result]:
    """Results of the function, in order; each is computed in one of so many processes of one thread."""
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        return pool.map(function, work, chunksize=1)


def start_rows(path: Path, header: Sequence[str]) -> None:
    """Begin a CSV file of rows, unless it has been begun."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(",".join(header) + "\n", encoding="utf-8")


def add_row(path: Path, values: Sequence[object]) -> None:
    """Append a row to a CSV file, and print it."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(values)
    print(", ".join(map(str, values)), flush=True)


def train_once(config: Config, folder: Path) -> Run:
    """Train into a folder unless that has been done, and load the result.

    Raises:
        UserError: the folder holds a run with other options.
    """
    started, finished = (folder / "config.yaml").exists(), folder / "finished"
    if finished.exists():
        changed = differences(config, read_config(folder / "config.yaml"))
        if changed:
            raise fail(
                "folder", "hold a run with these options", f"{folder} with another {', '.join(changed)}", "remove it"
            )
    else:
        train(config, folder, resume=started, device="cpu", progress=False)
        finished.touch()
    return load(folder)
