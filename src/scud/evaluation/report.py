"""A report on generated examples: measures of the samples, of held-out examples, and of as many training examples."""

import math
from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the report; None where a measure has no meaning."""

    measure: str
    samples: float | None
    heldout: float | None
    training: float | None


def rows_of(names: Mapping[str, str], samples: object, heldout: object, training: object) -> list[Row]:
    """A line for every attribute of the three sets, under the name it goes by; NaN becomes None."""
    sets = (samples, heldout, training)
    return [row_of(name, *(getattr(part, attribute) for part in sets)) for attribute, name in names.items()]


def row_of(measure: str, *values: float | None) -> Row:
    """A line of the values of samples, held-out and training examples; NaN becomes None."""
    return Row(measure, *(None if value is None or math.isnan(value) else value for value in values))
