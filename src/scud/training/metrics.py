"""metrics.csv: one row per optimiser step."""

import csv
import math
import warnings
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from scud.files import appending, check_file, writing_text
from scud.files.opening import unreadable


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
        valid_bits_per_dim_error: standard error of the validation, over examples and noise; None between validations, of a
            single example, and in files of version 0.1.0.
    """

    step: int
    train_bits_per_dim: float
    valid_bits_per_dim: float | None
    learning_rate: float
    gradient_norm: float
    seconds: float
    valid_bits_per_dim_error: float | None = None

    def measured(self) -> dict[str, float | None]:
        """What was measured, without the step and the time."""
        values: dict[str, float | None] = asdict(self)
        return {name: values[name] for name in MEASURED}


def in_unit(bits: float, unit: str) -> float:
    """Bits per position in a unit: as they are, such as "bits/dim", or two to that power, "perplexity"."""
    if unit != "perplexity":
        return bits
    return 2.0**bits if bits < 1024 else math.inf


def describe(bits: float, unit: str) -> str:
    """Bits per position as text: "1.692 bits/dim", "1.692 bits/char" or "perplexity 6.13"."""
    value = f"{in_unit(bits, unit):.3f}"
    return f"perplexity {value}" if unit == "perplexity" else f"{value} {unit}"


def describe_validation(row: Metrics, unit: str) -> str:
    """The validation of a row and how far it can be trusted: its 95% interval, which for few examples is wide."""
    if row.valid_bits_per_dim is None:
        return "validation unknown"
    text = f"validation {describe(row.valid_bits_per_dim, unit)}"
    if row.valid_bits_per_dim_error is None:
        return f"{text} (its error is unknown)"
    reach = 1.96 * row.valid_bits_per_dim_error
    ends = (in_unit(row.valid_bits_per_dim + side * reach, unit) for side in (-1, 1))
    return text + " (95% interval {:.3f} to {:.3f})".format(*ends)


COLUMNS = [field.name for field in fields(Metrics)]

MEASURED = [name for name in COLUMNS if name not in ("step", "seconds")]


def append(path: Path, row: Metrics) -> None:
    """Add a row; the file and its header are made when they are missing."""
    new = not path.exists()
    with appending(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(astuple(row))


def read(path: Path) -> list[Metrics]:
    """All complete rows; what is cut short or damaged is left out.

    Raises:
        UserError: the file is a folder or a device, or cannot be read.
    """
    check_file(path, "a table of metrics", "metrics.csv")
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = [_parsed(line) for line in file]
    except OSError as error:
        raise unreadable(path, error, "metrics.csv") from error
    return [row for row in rows if row is not None]


def _parsed(line: str) -> Metrics | None:
    """The row on a line of the file, or None for what is none."""
    if not line.endswith("\n"):
        return None
    try:
        step, train, valid, rate, norm, seconds, *others = line.rstrip("\r\n").split(",")
        error = others[0] if others else ""  # which version 0.1.0 did not write
        return Metrics(
            int(step),
            float(train),
            float(valid) if valid else None,
            float(rate),
            float(norm),
            float(seconds),
            float(error) if error else None,
        )
    except ValueError:  # the header, or a line that is cut short or damaged
        return None


def keep_until(path: Path, step: int, last: Metrics | None = None) -> None:
    """Drop the rows after `step`, which a resumed run will write again.

    Args:
        path: the file.
        step: of the checkpoint that is resumed.
        last: the row of that step, which is added where the file has lost it.
    """
    rows = [row for row in read(path) if row.step <= step] if path.exists() else []
    if last is not None and (not rows or rows[-1].step != step):
        rows.append(last)
    lost = step - len({row.step for row in rows})
    if lost > 0:
        warnings.warn(f"{path} has lost {lost} of its rows up to step {step}", stacklevel=2)
    with writing_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
