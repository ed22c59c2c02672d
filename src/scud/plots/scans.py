"""A heat map of what every change of a sequence does."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

ROW = 80
"""Positions side by side; more stand below."""


def heat_map(
    values: NDArray[np.float64],
    letters: Sequence[str],
    positions: NDArray[np.integer[Any]],
    wild: NDArray[np.integer[Any]],
    unit: str,
) -> Figure:
    """Values [P, B] of letters at positions [P], from blue (below 0) to red; a dot where the wild type [P] stands.

    Colours reach from the largest size of a value below 0 to that above, up to the 99th percentile of sizes.
    """
    rows = ceil(len(positions) / ROW)
    width, height = 1.6 + 0.16 * min(len(positions), ROW), 0.5 + rows * (0.7 + 0.16 * len(letters))
    figure = Figure(figsize=(max(width, 4), height), layout="constrained")
    reach = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for number, ax in enumerate(axes):
        part = slice(number * ROW, (number + 1) * ROW)
        shown, there = values[part].T, positions[part]
        image = ax.imshow(shown, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="equal")
        ax.plot(np.arange(len(there)), wild[part], "k.", markersize=3)
        ax.set_yticks(range(len(letters)), letters, fontsize=7, family="monospace")
        marked = [
            place for place, position in enumerate(there) if position % 10 == 0 or len(there) <= 10
        ]
        ax.set_xticks(marked, [str(there[place]) for place in marked], fontsize=7)
        ax.set_xlim(-0.5, min(len(positions), ROW) - 0.5)
        ax.spines[:].set_visible(False)
    axes[-1].set_xlabel("position")
    figure.colorbar(image, ax=axes, label=unit, shrink=0.8, pad=0.01)
    return figure
