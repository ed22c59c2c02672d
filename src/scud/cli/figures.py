"""How a bound, and the quality of samples, are told: as a table and a file."""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scud.errors import printable, shown

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Row

NARROWEST = 20
"""Columns of a terminal that a table is fitted to."""


def show(result: "Evaluation", title: str, counts: Mapping[str, int]) -> None:
    """Print a bound, its terms, the figures of its kind of data, and what these count."""
    in_bits = result.position == "dim"
    header = (title, "bits/dim" if in_bits else f"nats per {result.position}", "nats per example")
    rows: list[Sequence[object]] = []
    unit = 1.0 if in_bits else math.log(2)
    for name, nats in (("diffusion term", result.diffusion), ("prior term", result.prior)):
        rows.append((name, f"{result.term_bits_per_dim(nats) * unit:.4f}", f"{nats:.3f}"))
    figure = with_error(result.bits_per_dim * unit, result.bits_per_dim_error * unit)
    rows.append(("bound", figure, f"{result.total:.3f}"))
    gain, error = (nats / math.log(2) * unit for nats in (result.gain, result.gain_error))
    saved = f"{result.independent - result.total:.3f}"
    rows.append(("gain over independent states", with_error(gain, error), saved))
    for figures in result.figures if not in_bits else ():
        rows.append((figures.name, figures.range, ""))
    print_table(header, rows)
    if result.examples == 1:
        print("A single example has no error: how others would differ from it is not known.")
    if counts:
        counted = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(printable(f"counted: {counted} of {title}"))


def with_error(value: float, error: float) -> str:
    """A figure and its standard error, where there is one."""
    return f"{value:.4f} ± {error:.4f}" if math.isfinite(error) else f"{value:.4f}"


def write(
    result: "Evaluation", target: Path, about: Mapping[str, Any], counts: Mapping[str, int]
) -> None:
    """Write all figures as JSON, which has no NaN and no infinity: null in their place (one example has no error)."""
    from scud.files import write_text

    plain = {part.name: getattr(result, part.name) for part in dataclasses.fields(result)}
    extra = plain.pop("figures")
    plain.pop("position")
    figures = {
        "bits_per_dim": result.bits_per_dim,
        "bits_per_dim_error": result.bits_per_dim_error,
        "perplexity": result.perplexity,
        "gain": result.gain,
        **plain,
        "perplexity_interval": list(result.perplexity_interval),
    }
    if counts:
        figures["counts"] = dict(counts)
    for figure in extra:
        if figure.key not in figures:
            figures[figure.key] = {"value": figure.value, "low": figure.low, "high": figure.high}
    write_text(target, json.dumps({**about, **defined(figures)}, indent=2) + "\n")


def defined(value: Any) -> Any:
    """The same figures, None in place of those that are not finite."""
    if isinstance(value, dict):
        return {name: defined(part) for name, part in value.items()}
    if isinstance(value, list):
        return [defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_rows(rows: Sequence["Row"], split: str, target: Path) -> None:
    """Write measures of samples beside those of a split and of training data as CSV, and print them."""
    from scud.files import writing_text

    header = ["measure", "samples", split, "training"]
    with writing_text(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    cells = [
        (row.measure, *("" if value is None else brief(value) for value in row[1:])) for row in rows
    ]
    print_table(header, cells)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> None:
    """Print a table, without what a terminal would take for a command or a colour."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def cell(value: object) -> str:
        return escape(printable(shown(value)))

    table = Table(*map(cell, header), title=title)
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console()
    if console.width < NARROWEST:  # as where COLUMNS is 0
        console = Console(width=80)
    console.print(table)


def brief(value: float) -> str:
    """A count in full, anything else in four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
