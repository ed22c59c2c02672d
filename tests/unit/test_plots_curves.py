"""Training curves: labels, data, limits that show what matters, and the written file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scud.errors import UserError
from scud.plots import save_figure, training_curves

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
    with pytest.raises(UserError, match=r"train must be a list with one loss per step.*log both together"):
        training_curves([1, 2], [1.0], [], [], "bits/dim")
    with pytest.raises(UserError, match="valid must be"):
        training_curves([1], [1.0], [1], [], "bits/dim")
    with pytest.raises(UserError, match=r"train must hold at least one finite loss.*train for at least"):
        training_curves([1], [float("nan")], [], [], "bits/dim")


def test_a_figure_is_written_as_a_png(tmp_path: Path) -> None:
    figure = training_curves(STEPS, TRAIN, VALID_STEPS, VALID, "bits/dim")
    save_figure(figure, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (840, 504)
    assert list(tmp_path.iterdir()) == [tmp_path / "curves.png"]
