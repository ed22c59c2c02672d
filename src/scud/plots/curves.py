"""Curves of training and of comparisons. Figures are made without pyplot, so no state is shared and no display is needed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from numpy.typing import ArrayLike, NDArray

from scud.errors import fail
from scud.plots.files import picture_file


def training_curves(
    steps: ArrayLike, train: ArrayLike, valid_steps: ArrayLike, valid: ArrayLike, unit: str
) -> Figure:
    """The training loss at `steps` [n], raw and smoothed, and the validation loss at `valid_steps` [m], m = 0 allowed.

    Losses that are not finite are left out. The vertical axis shows where the curves settle: the first fall and single
    outliers may leave it.
    """
    steps, train = _finite_points("train", steps, train)
    valid_steps, valid = _finite_points("valid", valid_steps, valid)
    if not len(train):
        raise fail(
            "train", "hold at least one finite loss", 0, "train for at least one logged step"
        )
    window = max(1, len(train) // 40)
    smooth = _moving_average(train, window)

    figure, axes = _empty_figure("training step", unit)
    axes.plot(steps, train, color="#a6c8e4", linewidth=0.6)
    axes.plot(steps, smooth, color="#1f6fb0", linewidth=1.8, label="training")
    if len(valid):
        axes.plot(
            valid_steps,
            valid,
            color="#d9541e",
            linewidth=1.4,
            marker="o",
            markersize=4,
            label="validation",
        )
    axes.set_ylim(*_limits(train, smooth, valid))
    axes.margins(x=0.01)
    axes.legend(frameon=False, loc="upper right")
    return figure


def distance_curves(
    calls: ArrayLike, lines: Mapping[str, ArrayLike], floor: float | None, distance: str
) -> Figure:
    """A distance against the number of network calls [n], both logarithmic; a line with error bars for each name.

    Args:
        calls: numbers of network calls [n], positive.
        lines: for each name, distances and their standard errors, [2, n]; a NaN leaves its point out.
        floor: what real examples have, drawn as a dashed line; none when None.
        distance: what it is called.

    Raises:
        UserError: a line that is not [2, n], or a distance or number of calls that is not positive.
    """
    x = np.asarray(calls, dtype=np.float64)
    figure, axes = _empty_figure("network calls", distance)
    for name, line in lines.items():
        y = np.asarray(line, dtype=np.float64)
        if x.ndim != 1 or y.shape != (2, *x.shape):
            rule = "hold a distance and an error per number of calls"
            raise fail(
                name, rule, f"shape {y.shape} for {x.shape}", "use NaN for what was not measured"
            )
        if (y[0] <= 0).any() or (x <= 0).any():
            raise fail(
                name,
                "be positive, as its axes are logarithmic",
                min(np.nanmin(y[0]), x.min()),
                "leave out such points",
            )
        axes.errorbar(
            x, y[0], yerr=y[1], marker="o", markersize=4, linewidth=1.6, capsize=2, label=name
        )
    if floor is not None:
        axes.axhline(floor, color="#606060", linestyle="--", linewidth=1.2, label="training images")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(x)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(
        frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
    )  # beside the lines, which may be many
    return figure


def gamma_curve(
    gamma: ArrayLike, mean: ArrayLike, error: ArrayLike, unit: str, masking: float | None
) -> Figure:
    """A loss against gamma, all [n], with error bars of one standard error (NaN for none); gamma = 0 is the classical model.

    Args:
        gamma: in [0, 1], in any order.
        mean, error: the loss and its standard error.
        unit: of the loss.
        masking: the loss of masking, drawn as a dashed line; none when None.

    Raises:
        UserError: lists of different length.
    """
    x, y, spread = (np.asarray(part, dtype=np.float64) for part in (gamma, mean, error))
    if x.ndim != 1 or not x.shape == y.shape == spread.shape:
        found = f"shapes {x.shape}, {y.shape} and {spread.shape}"
        raise fail(
            "gamma, mean and error", "be lists of one length", found, "give one of each per model"
        )
    order = np.argsort(x)
    figure, axes = _empty_figure("gamma (0: classical, 1: most schedule information)", unit)
    axes.errorbar(
        x[order],
        y[order],
        yerr=spread[order],
        color="#1f6fb0",
        marker="o",
        markersize=5,
        linewidth=1.6,
        capsize=3,
        label="SCUD",
    )
    if masking is not None:
        axes.axhline(masking, color="#606060", linestyle="--", linewidth=1.2, label="masking")
    axes.legend(frameon=False, loc="best")
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write `figure` as a PNG file, 120 dots per inch."""
    with picture_file(path, ".png") as file:
        figure.savefig(file, format="png", dpi=120)


def _empty_figure(x: str, y: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and their labels."""
    figure = Figure(figsize=(7, 4.2))
    # Room for labels of usual length: a layout that measures all text first takes as long as drawing it.
    figure.subplots_adjust(left=0.13, right=0.96, bottom=0.13, top=0.96)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finite_points(
    name: str, steps: ArrayLike, losses: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and losses as arrays of one length, without the losses that are not finite."""
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise fail(
            name,
            "be a list with one loss per step",
            f"shape {y.shape} for {x.shape}",
            "log both together",
        )
    finite = np.isfinite(y)
    return x[finite], y[finite]


def _moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean over the `window` values around each; fewer at the ends."""
    ones = np.ones(window)
    return np.convolve(values, ones, mode="same") / np.convolve(
        np.ones_like(values), ones, mode="same"
    )


def _limits(
    train: NDArray[np.float64], smooth: NDArray[np.float64], valid: NDArray[np.float64]
) -> tuple[float, float]:
    """Vertical limits that hold all but the first fall of the curves and the outliers of the raw loss."""
    lows = [np.quantile(train, 0.02), smooth.min()]
    highs = [np.quantile(train, 0.95), np.quantile(smooth, 0.95)]
    if len(valid):
        lows.append(valid.min())
        highs.append(np.quantile(valid, 0.9))
    low, high = float(min(lows)), float(max(highs))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
