"""metrics.csv: one row per optimiser step."""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from scud.files import appending, writing_text


@dataclass(frozen=True)
class Metrics:
    """One row.

    Attributes:
        step: optimiser steps done.
        train_bits_per_dim: the bound's diffusion term on the batch, network as it was before the step.
        valid_bits_per_dim: the bound on the validation split with averaged weights; None between validations.
        learning_rate: what the step used.
        gradient_norm: before clipping.
        seconds: since training began, without pauses between interruption and resumption.
    """

    step: int
    train_bits_per_dim: float
    valid_bits_per_dim: float | None
    learning_rate: float
    gradient_norm: float
    seconds: float


def in_unit(bits: float, unit: str) -> float:
    """Bits per position in a unit: as they are, such as "bits/dim", or two to that power, "perplexity"."""
    return 2.0**bits if unit == "perplexity" else bits


def describe(bits: float, unit: str) -> str:
    """Bits per position as text: "1.692 bits/dim", "1.692 bits/char" or "perplexity 6.13"."""
    value = f"{in_unit(bits, unit):.3f}"
    return f"perplexity {value}" if unit == "perplexity" else f"{value} {unit}"


COLUMNS = [field.name for field in fields(Metrics)]


def append(path: Path, row: Metrics) -> None:
    """Add a row; the file and its header are made when they are missing."""
    new = not path.exists()
    with appending(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(astuple(row))


def read(path: Path) -> list[Metrics]:
    """All complete rows."""
    with path.open(newline="") as file:
        rows = [
            row
            for row in csv.reader(file)
            if len(row) == len(COLUMNS) and row[0].isdigit() and row[-1]
        ]
    return [
        Metrics(
            int(step),
            float(train),
            float(valid) if valid else None,
            float(rate),
            float(norm),
            float(seconds),
        )
        for step, train, valid, rate, norm, seconds in rows
    ]


def keep_until(path: Path, step: int) -> None:
    """Drop the rows after `step`, which a resumed run will write again."""
    rows = [row for row in read(path) if row.step <= step] if path.exists() else []
    with writing_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
