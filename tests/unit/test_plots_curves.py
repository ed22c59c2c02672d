"""Training curves: labels, data, limits that show what matters, and the written file."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scud.errors import UserError
from scud.plots import distance_curves, gamma_curve, save_figure, training_curves

STEPS = np.arange(0, 4000, 10)
TRAIN = 2 + 8 * np.exp(-STEPS / 30) + 0.1 * np.sin(STEPS)
VALID_STEPS = [0, 1000, 2000, 3000]
VALID = [10.0, 2.2, 2.1, 2.05]


def test_the_figure_has_labelled_axes_and_the_data() -> None:
    (axes,) = training_curves(STEPS, TRAIN, VALID_STEPS, VALID, "bits/dim").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "bits/dim")
    raw, smooth, valid = axes.get_lines()
    np.testing.assert_array_equal(raw.get_xydata(), np.stack([STEPS, TRAIN], axis=1))
    np.testing.assert_array_equal(smooth.get_xdata(), STEPS)
    np.testing.assert_array_equal(valid.get_xydata(), np.stack([VALID_STEPS, VALID], axis=1))
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]


def test_the_smoothed_line_averages_without_shifting() -> None:
    (axes,) = training_curves(STEPS, 3 + 0.001 * STEPS, [], [], "bits/dim").axes
    smooth = np.asarray(axes.get_lines()[1].get_ydata())
    middle = slice(20, -20)
    np.testing.assert_allclose(smooth[middle], (3 + 0.001 * STEPS)[middle], atol=0.006)
    (axes,) = training_curves(STEPS, np.full(400, 7.0), [], [], "bits/dim").axes
    np.testing.assert_allclose(np.asarray(axes.get_lines()[1].get_ydata()), 7)


def test_the_first_fall_and_outliers_do_not_set_the_limits() -> None:
    spiked = TRAIN.copy()
    spiked[200] = 1000
    spiked[210] = -1000
    (axes,) = training_curves(STEPS, TRAIN, VALID_STEPS, VALID, "bits/dim").axes
    low, high = axes.get_ylim()
    assert 1.5 < low < 1.95
    assert 2.3 < high < 9
    (axes,) = training_curves(STEPS, spiked, [], [], "bits/dim").axes
    assert axes.get_ylim()[1] < 500


@pytest.mark.parametrize("train", [[2.0], [0.0, 0.0], [3.0, float("nan"), float("inf")]])
def test_few_equal_or_infinite_losses_still_make_a_figure(train: list[float]) -> None:
    (axes,) = training_curves(range(len(train)), train, [], [], "bits/dim").axes
    low, high = axes.get_ylim()
    assert low < train[0] < high


def test_losses_must_match_their_steps() -> None:
    with pytest.raises(
        UserError, match=r"train must be a list with one loss per step.*log both together"
    ):
        training_curves([1, 2], [1.0], [], [], "bits/dim")
    with pytest.raises(UserError, match="valid must be"):
        training_curves([1], [1.0], [1], [], "bits/dim")
    with pytest.raises(
        UserError, match=r"train must hold at least one finite loss.*train for at least"
    ):
        training_curves([1], [float("nan")], [], [], "bits/dim")


def test_a_figure_is_written_as_a_png(tmp_path: Path) -> None:
    figure = training_curves(STEPS, TRAIN, VALID_STEPS, VALID, "bits/dim")
    save_figure(figure, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (840, 504)
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]


CALLS = [4, 16, 64]


def test_distances_are_drawn_against_calls_on_logarithmic_axes() -> None:
    lines = {
        "SCUD": [[1.0, 0.1, 0.02], [0.1, 0.01, 0.001]],
        "masking": [[2.0, 0.4, math.nan], [0.1, 0.01, math.nan]],
    }
    (axes,) = distance_curves(CALLS, lines, 0.01, "distance").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("network calls", "distance")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["4", "16", "64"]
    for container, (values, errors) in zip(axes.containers, lines.values(), strict=True):
        line, _, (bars,) = container
        np.testing.assert_array_equal(line.get_xydata(), np.stack([CALLS, values], axis=1))
        ends = np.asarray([segment[:, 1] for segment in bars.get_segments() if len(segment)])
        np.testing.assert_allclose(ends[:, 1] - ends[:, 0], 2 * np.asarray(errors)[: len(ends)])
    legend = axes.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {
        "training images",
        "SCUD",
        "masking",
    }
    assert [
        list(line.get_ydata()) for line in axes.get_lines() if line.get_linestyle() == "--"
    ] == [[0.01, 0.01]]


def test_what_cannot_be_drawn_against_calls_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"SCUD must hold a distance and an error per number.*use NaN"
    ):
        distance_curves(CALLS, {"SCUD": [[1.0, 0.1], [0.1, 0.01]]}, None, "distance")
    with pytest.raises(UserError, match=r"SCUD must be positive.*got 0\.0; leave out"):
        distance_curves(CALLS, {"SCUD": [[1.0, 0.0, 1.0], [0.1, 0.01, 0.1]]}, None, "distance")


def test_a_loss_is_drawn_against_gamma_in_its_order() -> None:
    (axes,) = gamma_curve(
        [1, 0, 0.4], [1.7, 1.6, 1.65], [0.01, 0.02, math.nan], "bits/dim", 1.8
    ).axes
    assert axes.get_ylabel() == "bits/dim"
    assert "0: classical" in axes.get_xlabel()
    (container,) = axes.containers
    np.testing.assert_array_equal(container[0].get_xydata(), [[0, 1.6], [0.4, 1.65], [1, 1.7]])
    assert [
        list(line.get_ydata()) for line in axes.get_lines() if line.get_linestyle() == "--"
    ] == [[1.8, 1.8]]
    (axes,) = gamma_curve([1], [1.7], [math.nan], "bits/dim", None).axes
    assert not [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    with pytest.raises(UserError, match=r"gamma, mean and error must be lists of one length"):
        gamma_curve([1, 0], [1.7], [0.1], "bits/dim", None)
