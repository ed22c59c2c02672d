"""What is reported: figures of a bound, and measures of generated examples beside those of data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Figure:
    """A figure and its 95% interval; NaN where one is not defined.

    Attributes:
        name: what it is, with its unit: "bits/dim", "perplexity per word".
        value: the figure.
        low, high: ends of the interval.
        digits: how many are written after the point.
    """

    name: str
    value: float
    low: float
    high: float
    digits: int = 3

    @property
    def key(self) -> str:
        """The name as a key of a file: bits_per_dim, perplexity_per_word."""
        return self.name.replace("/", " per ").replace(" ", "_")

    @property
    def has_interval(self) -> bool:
        """Whether it has an interval: a single example has none."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def range(self) -> str:
        """The figure and its interval."""
        value, low, high = (f"{x:.{self.digits + 1}f}" for x in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})" if self.has_interval else value

    def __str__(self) -> str:
        value, low, high = (f"{x:.{self.digits}f}" for x in (self.value, self.low, self.high))
        figure = f"{value} {self.name}" if "/" in self.name else f"{self.name} {value}"
        return f"{figure}, 95% interval {low} to {high}" if self.has_interval else figure


@dataclass(frozen=True)
class Normal(Figure):
    """A figure whose interval is ± 1.96 standard errors, and which is written with its error."""

    @property
    def error(self) -> float:
        """The standard error."""
        return (self.high - self.low) / 2 / 1.96

    def __str__(self) -> str:
        value, error = (f"{x:.{self.digits}f}" for x in (self.value, self.error))
        return f"{value} ± {error} {self.name}" if self.has_interval else f"{value} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Paired(Figure):
    """A figure that is told with another beside it."""

    beside: Figure

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.beside}"


class Row(NamedTuple):
    """One line of the report; None where a measure has no meaning."""

    measure: str
    samples: float | None
    heldout: float | None
    training: float | None


def rows_of(
    names: Mapping[str, str], samples: object, heldout: object, training: object
) -> list[Row]:
    """A line for every attribute of the three sets, under the name it goes by; NaN becomes None."""
    sets = (samples, heldout, training)
    return [
        row_of(name, *(getattr(part, attribute) for part in sets))
        for attribute, name in names.items()
    ]


def row_of(measure: str, *values: float | None) -> Row:
    """A line of the values of samples, held-out and training examples; NaN becomes None."""
    return Row(
        measure, *(None if value is None or math.isnan(value) else value for value in values)
    )
