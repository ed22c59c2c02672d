"""Images that were drawn: the file of their pixels, and their quality beside held-out and training data."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scud.data.images import quality as image_quality
from scud.data.images.read import quantise
from scud.plots import to_pixels
from tests.integration.conftest import Command

DISTANCE = "Fréchet distance on features of a small classifier"


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such classes are told apart by a classifier of few steps."""
    monkeypatch.setattr(
        image_quality, "train_classifier", partial(image_quality.train_classifier, steps=60)
    )


@pytest.fixture
def data(tmp_path: Path) -> dict[str, NDArray[np.uint8]]:
    """Images whose class is the brighter half, as pixels, saved with their labels in data.npz."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    images = random.integers(0, 120, (60, 4, 4)).astype(np.uint8)
    images[label == 1, :2] += 130
    images[label == 0, 2:] += 130
    parts = {"train": slice(0, 40), "valid": slice(40, 60)}
    arrays = {f"x_{name}": images[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": label[part].astype(np.uint8) for name, part in parts.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    return arrays


@pytest.fixture
def run(scud: Command, tiny: list[str], data: dict[str, NDArray[np.uint8]], tmp_path: Path) -> Path:
    """A run of one step on these."""
    assert data
    folder = tmp_path / "runs" / "labelled"
    options = [
        *tiny,
        f"--data.train={tmp_path / 'data.npz'}",
        "--training.steps=1",
        "--out",
        folder,
    ]
    assert scud("train", "images", *options).status == 0
    return folder


def report(run: Path) -> dict[str, tuple[str, ...]]:
    with (run / "quality.csv").open(encoding="utf-8", newline="") as file:
        return {row[0]: tuple(row[1:]) for row in csv.reader(file)}


def test_samples_are_written_as_the_picture_shows_them_and_compared(
    scud: Command, run: Path
) -> None:
    assert scud("sample", run, "--num=6", "--steps=3", "--seed=1").status == 0
    with np.load(run / "samples" / "samples.npz", allow_pickle=False) as archive:
        assert archive.files == ["x"]
        x = archive["x"]
    assert (x.shape, x.dtype) == ((6, 4, 4, 1), np.uint8)
    with Image.open(run / "samples" / "samples.png") as picture:
        shown = np.asarray(picture)
    for number, image in enumerate(x):
        row, column = divmod(number, 3)
        tile = shown[4 + 68 * row :, 4 + 68 * column :][:64:16, :64:16]
        np.testing.assert_array_equal(tile, image[..., 0])

    compared = scud("evaluate", run, "--samples", run / "samples" / "samples.npz")
    assert compared.status == 0, compared.err
    assert compared.last_line.startswith(f"wrote {run / 'quality.csv'}: 6 images of")
    assert "Fréchet distance" in compared.out
    figures = report(run)
    assert figures["measure"] == ("samples", "valid", "training")
    assert figures["images"] == ("6", "20", "6")
    assert float(figures[DISTANCE][0]) > 0


def test_held_out_and_training_images_as_samples(
    scud: Command, run: Path, data: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Images that are not on the model's levels are quantised as the data are: held-out ones are at distance 0."""
    np.savez(tmp_path / "drawn.npz", x=data["x_valid"])
    assert scud("evaluate", run, "--samples", tmp_path / "drawn.npz", "--split=valid").status == 0
    figures = report(run)
    assert float(figures[DISTANCE][0]) == pytest.approx(0, abs=1e-9)
    assert float(figures[DISTANCE][2]) > 1e-3
    assert figures["share equal to a training image"] == ("0.0", "0.0", "")
    assert float(figures["accuracy of the classifier on validation images"][1]) > 0.9
    np.savez(tmp_path / "drawn.npz", x=data["x_train"][:30, ..., None])
    again = scud("evaluate", run, "--samples", tmp_path / "drawn.npz")
    assert again.status == 0
    assert report(run)["share equal to a training image"] == ("1.0", "0.0", "")


def test_files_that_are_no_samples(refuse: Callable[..., str], run: Path, tmp_path: Path) -> None:
    def evaluate(**arrays: NDArray[np.generic]) -> str:
        np.savez(tmp_path / "runs" / "drawn.npz", **arrays)
        return refuse("evaluate", run, "--samples", tmp_path / "runs" / "drawn.npz")

    x = np.zeros((5, 4, 4), dtype=np.uint8)
    assert "name a file that exists" in refuse("evaluate", run, "--samples=nowhere.npz")
    assert "hold an array x, got" in evaluate(x_train=x)
    assert "np.savez_compressed(path, x=images)" in evaluate(x_train=x)
    assert "must hold integers, got float64" in evaluate(x=x / 255)
    assert "hold values in 0..255, got 300" in evaluate(x=x.astype(np.int64) + 300)
    assert "hold at least one image" in evaluate(x=x[:0])
    wrong = evaluate(x=np.zeros((5, 4, 6, 3), dtype=np.uint8))
    assert "hold images of the model's 1 channel(s), height 4 and width 4, got 3, 4 and 6" in wrong
    assert "samples must hold at least two images, got 1" in evaluate(x=x[:1])
    assert "not be given together" in refuse("evaluate", run, "--span=0.2", "--samples=x.npz")


@pytest.mark.parametrize("missing", ["train", "valid"])
def test_images_without_labels(
    scud: Command,
    refuse: Callable[..., str],
    run: Path,
    data: dict[str, NDArray[np.uint8]],
    tmp_path: Path,
    missing: str,
) -> None:
    np.savez(tmp_path / "drawn.npz", x=data["x_valid"])
    np.savez(
        tmp_path / "data.npz",
        **{name: array for name, array in data.items() if name != f"y_{missing}"},
    )
    assert scud("train", run / "config.yaml", "--overwrite", "--out", run).status == 0
    message = refuse("evaluate", run, "--samples", tmp_path / "drawn.npz")
    assert f"{missing} images of data must have a class label each" in message
    assert f"add an array y_{missing} to an .npz file" in message


@settings(max_examples=60, deadline=None)
@given(num_states=st.integers(2, 256), seed=st.integers(0, 99))
def test_pixels_become_the_levels_they_were_drawn_from(num_states: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = random.integers(0, num_states, (3, 3, 2, 5))
    pixels = np.moveaxis(to_pixels(levels, num_states), -1, 1)
    np.testing.assert_array_equal(quantise(pixels.copy(), num_states), levels)
