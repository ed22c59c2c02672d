"""A progress bar of training, with the loss in the unit of the data; plain lines where `rich` is not installed."""

import math
import sys
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from scud.training import metrics

LINES = 20
"""Lines printed in all where there is no bar."""


class Bar:
    """Called with the metrics of every step; a context, within which it is on the screen.

    Args:
        first: steps done before.
        steps: steps in all.
        unit: what losses are shown in.
        shown: whether to show anything.
    """

    def __init__(self, first: int, steps: int, unit: str, *, shown: bool = True) -> None:
        self.first, self.steps, self.unit, self.shown = first, steps, unit, shown
        self.smooth = self.last_valid = math.nan
        self.progress: Any = None

    def __enter__(self) -> Self:
        if self.shown and find_spec("rich") is not None:
            self.progress = _rich_progress()
            self.task = self.progress.add_task(
                "training", total=self.steps, completed=self.first, text=""
            )
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, row: metrics.Metrics) -> None:
        """Show a step's loss, smoothed, and the last validation's."""
        train, valid = row.train_bits_per_dim, row.valid_bits_per_dim
        self.smooth = train if math.isnan(self.smooth) else 0.95 * self.smooth + 0.05 * train
        self.last_valid = self.last_valid if valid is None else valid
        text = metrics.describe(self.smooth, self.unit)
        if not math.isnan(self.last_valid):
            text += f", validation {metrics.in_unit(self.last_valid, self.unit):.3f}"
        if self.progress is not None:
            self.progress.update(self.task, completed=row.step, text=text)
        elif self.shown and row.step % max(self.steps // LINES, 1) == 0:
            print(f"training {row.step}/{self.steps} {text}", file=sys.stderr, flush=True)


def _rich_progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
