"""Tables as Markdown and JSON from the same rows, and what they were measured on."""

import datetime
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import scud

Row = Mapping[str, object]

PACKAGES = ("numpy", "scipy", "flow-matching", "diffusers")
"""Packages whose version is told, beside Python, PyTorch and scud."""


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        name: what it is called in JSON.
        text: what was measured, in a sentence or two, above the table.
        rows: column -> value, all rows with the same columns.
    """

    name: str
    text: str
    rows: list[Row]

    def markdown(self) -> str:
        """Heading, text and table."""
        lines = [f"## {self.name}", "", self.text]
        if self.rows:
            columns = list(self.rows[0])
            lines += ["", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
            lines += [
                f"| {' | '.join(cell(row[column]) for column in columns)} |" for row in self.rows
            ]
        return "\n".join([*lines, ""])


def cell(value: object) -> str:
    """A value as a reader wants it: four digits of numbers from 1 on, three of smaller ones."""
    if isinstance(value, float):
        if math.isnan(value):
            return "n/a"
        return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"
    return "" if value is None else str(value)


def machine(seed: int | None = None, device: torch.device | None = None) -> dict[str, object]:
    """What numbers are made on: processor, versions, date, threads; with a GPU its name, with a seed that."""
    found: dict[str, object] = {"processor": _processor(), "cores": os.cpu_count()}
    if device is not None and device.type == "cuda":
        found["GPU"] = torch.cuda.get_device_name(device)
    found |= {
        "threads": torch.get_num_threads(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }
    found["scud"] = scud.__version__
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    found["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    return found if seed is None else {**found, "seed": seed}


def machine_line(seed: int | None = None, device: torch.device | None = None) -> str:
    """`machine` on one line."""
    return ", ".join(f"{name} {value}" for name, value in machine(seed, device).items())


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(folder: Path, name: str, made_on: Mapping[str, object], tables: Iterable[Table]) -> None:
    """Write `name`.md and `name`.json; figures that are not known (NaN) are null in JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = list(tables)
    head = ", ".join(f"{key} {value}" for key, value in made_on.items())
    (folder / f"{name}.md").write_text(
        "\n".join([head, "", *(table.markdown() for table in tables)]), encoding="utf-8"
    )
    content = {
        "machine": dict(made_on),
        "tables": {
            table.name: {"text": table.text, "rows": [_plain(row) for row in table.rows]}
            for table in tables
        },
    }
    (folder / f"{name}.json").write_text(
        json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def _plain(row: Row) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
