"""What the tables share: runs that are trained once, resumed when they were cut short, and loaded when they are finished."""

import csv
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from scud.config import Config, changed, differences, read_config
from scud.errors import fail
from scud.experiment import train
from scud.runs import Run, load

Work, Result = TypeVar("Work"), TypeVar("Result")


@dataclass(frozen=True)
class Model:
    """A row of a table: kind of model, process, and SCUD's gamma."""

    kind: str
    process: str = "gaussian"
    gamma: float = 1.0

    def folder(self, seed: int) -> str:
        """The folder of a run; masking has its own noise."""
        noise = "" if self.kind == "masking" else f"-{self.process}"
        return (
            f"{self.kind}{noise}"
            + ("" if self.gamma == 1 else f"-gamma{self.gamma:g}")
            + f"-{seed}"
        )

    def of(self, recipe: Config, seed: int, **options: Any) -> Config:
        """A recipe with this model, a seed and other options: values, or mappings of a section's options to values."""
        chosen: dict[str, Any] = {"seed": seed, "diffusion.kind": self.kind}
        if self.kind == "scud":
            chosen["diffusion.gamma"] = self.gamma
        noise = options.pop("process", {})
        if self.kind != "masking":
            chosen |= {"process.kind": self.process}
            chosen |= {f"process.{name}": value for name, value in noise.items()}
        for section, value in options.items():
            named = value if isinstance(value, Mapping) else None
            chosen |= (
                {section: value}
                if named is None
                else {f"{section}.{name}": part for name, part in named.items()}
            )
        return changed(recipe, chosen)


def in_parallel(
    function: Callable[[Work], Result], work: Sequence[Work], workers: int
) -> list[Result]:
    """Results of the function, in order; each is computed in one of so many processes of one thread, or here where that is 1."""
    if workers == 1:
        torch.set_num_threads(1)
        return [function(part) for part in work]
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        return pool.map(function, work, chunksize=1)


def start_rows(path: Path, header: Sequence[str], options: str = "") -> None:
    """Begin a CSV file of rows, unless it has been begun; what made the rows is kept beside it.

    Raises:
        UserError: it holds rows that were made with other options.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.with_suffix(".options.txt")
    if not path.exists():
        path.write_text(",".join(header) + "\n", encoding="utf-8")
        kept.write_text(options, encoding="utf-8")
    before = kept.read_text(encoding="utf-8") if kept.exists() else ""
    if before != options:
        raise fail(
            "--out",
            f"hold rows made with {options}",
            f"{path}, made with {before}",
            "give another folder",
        )


def add_row(path: Path, values: Sequence[object]) -> None:
    """Append a row to a CSV file, and print it."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(values)
    print(", ".join(map(str, values)), flush=True)


def read_rows(path: Path, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a CSV file by what stands in some of their columns."""
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}


def to_do(path: Path, rows: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Rows and seeds that a CSV file with columns `model` and `seed` lacks, seed by seed."""
    done = read_rows(path, "model", "seed")
    return [(row, seed) for seed in seeds for row in rows if (row, str(seed)) not in done]


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
                "folder",
                "hold a run with these options",
                f"{folder} with another {', '.join(changed)}",
                "remove it",
            )
    else:
        train(config, folder, resume=started, device="cpu", progress=False)
        finished.touch()
    return load(folder)
