"""Curves of training. Figures are made without pyplot, so no state is shared and no display is needed."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scud.errors import fail
from scud.plots.files import picture_file


def training_curves(steps: ArrayLike, train: ArrayLike, valid_steps: ArrayLike, valid: ArrayLike, unit: str) -> Figure:
    """The training loss at `steps` [n], raw and smoothed, and the validation loss at `valid_steps` [m], m = 0 allowed.

    Losses that are not finite are left out. The vertical axis shows where the curves settle: the first fall and single
    outliers may leave it.
    """
    steps, train = _finite_points("train", steps, train)
    valid_steps, valid = _finite_points("valid", valid_steps, valid)
    if not len(train):
        raise fail("train", "hold at least one finite loss", 0, "train for at least one logged step")
    window = max(1, len(train) // 40)
    smooth = _moving_average(train, window)

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, train, color="#a6c8e4", linewidth=0.6)
    axes.plot(steps, smooth, color="#1f6fb0", linewidth=1.8, label="training")
    if len(valid):
        axes.plot(valid_steps, valid, color="#d9541e", linewidth=1.4, marker="o", markersize=4, label="validation")
    axes.set_ylim(*_limits(train, smooth, valid))
    axes.margins(x=0.01)
    axes.set_xlabel("training step")
    axes.set_ylabel(unit)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write `figure` as a PNG file, 120 dots per inch."""
    with picture_file(path, ".png") as file:
        figure.savefig(file, format="png", dpi=120)


def _finite_points(name: str, steps: ArrayLike, losses: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and losses as arrays of one length, without the losses that are not finite."""
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise fail(name, "be a list with one loss per step", f"shape {y.shape} for {x.shape}", "log both together")
    finite = np.isfinite(y)
    return x[finite], y[finite]


def _moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean over the `window` values around each; fewer at the ends."""
    ones = np.ones(window)
    return np.convolve(values, ones, mode="same") / np.convolve(np.ones_like(values), ones, mode="same")


def _limits(train: NDArray[np.float64], smooth: NDArray[np.float64], valid: NDArray[np.float64]) -> tuple[float, float]:
    """Vertical limits that hold all but the first fall of the curves and the outliers of the raw loss."""
    lows = [np.quantile(train, 0.02), smooth.min()]
    highs = [np.quantile(train, 0.95), np.quantile(smooth, 0.95)]
    if len(valid):
        lows.append(valid.min())
        highs.append(np.quantile(valid, 0.9))
    low, high = float(min(lows)), float(max(highs))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
