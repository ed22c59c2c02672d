"""Pictures: exact pixel values, the geometry of the grid, animations read back, and writing that loses nothing."""

from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scud.errors import UserError
from scud.plots import denoising_animation, sample_grid, save_animation, save_image, to_pixels


def levels(*shape: int, num_states: int = 5) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, num_states, shape)


@given(st.integers(2, 256))
def test_pixels_are_the_share_of_255_rounded_up(num_states: int) -> None:
    x = np.arange(num_states).reshape(1, 1, 1, -1)
    expected = [ceil(Fraction(255 * level, num_states - 1)) for level in range(num_states)]
    pixels = to_pixels(x, num_states)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, 1, num_states, 1)
    assert pixels.flatten().tolist() == expected


def test_pixels_have_the_channels_last() -> None:
    x = levels(2, 3, 4, 6, num_states=256)
    np.testing.assert_array_equal(to_pixels(x, 256), x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("x", "num_states", "message"),
    [
        (levels(2, 4, 4), 5, "pass at least one image"),
        (levels(2, 2, 4, 4), 5, "1 or 3 channels"),
        (levels(0, 1, 4, 4), 5, "pass at least one image"),
        (np.full((1, 1, 4, 4), 5), 5, "got 5; pass the num_states of the data"),
        (np.full((1, 1, 4, 4), -1), 5, "got -1; pass the num_states of the data"),
        (levels(1, 1, 4, 4), 1, "num_states must be 2 or more"),
    ],
)
def test_wrong_levels_are_refused(x: NDArray[np.int64], num_states: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_pixels(x, num_states)


def test_the_grid_places_enlarged_tiles_row_by_row_between_margins() -> None:
    x = levels(5, 3, 8, 8)
    grid = sample_grid(x, 5)
    assert grid.mode == "RGB"
    assert grid.size == (3 * 64 + 4 * 4, 2 * 64 + 3 * 4)
    canvas = np.asarray(grid)
    pixels = to_pixels(x, 5)
    for index in range(5):
        row, column = divmod(index, 3)
        top, left = 4 + 68 * row, 4 + 68 * column
        tile = canvas[top : top + 64, left : left + 64]
        np.testing.assert_array_equal(
            tile, np.kron(pixels[index], np.ones((8, 8, 1), dtype=np.uint8))
        )
        canvas = canvas.copy()
        canvas[top : top + 64, left : left + 64] = canvas[0, 0]
    assert (canvas == canvas[0, 0]).all()
    assert canvas[0, 0].min() > 200


@pytest.mark.parametrize(
    ("count", "side", "columns", "size"),
    [
        (4, 28, None, (180, 180)),
        (3, 64, 1, (72, 208)),
        (2, 100, 9, (212, 108)),
        (16, 28, 8, (708, 180)),
    ],
)
def test_the_grid_has_the_columns_asked_for(
    count: int, side: int, columns: int | None, size: tuple[int, int]
) -> None:
    grid = sample_grid(levels(count, 1, side, side), 5, columns=columns)
    assert grid.mode == "L"
    assert grid.size == size


def test_a_grid_needs_a_column() -> None:
    with pytest.raises(UserError, match="columns must be 1 or more, got 0; leave it out"):
        sample_grid(levels(4, 1, 8, 8), 5, columns=0)


def test_an_image_is_read_back_as_it_was(tmp_path: Path) -> None:
    grid = sample_grid(levels(4, 3, 8, 8), 5)
    save_image(grid, tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(grid))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_is_read_back_with_its_frames_and_durations(
    tmp_path: Path, channels: int
) -> None:
    x = levels(6, 4, channels, 8, 8)
    frames = denoising_animation(x, 5)
    assert len(frames) == 6
    save_animation(frames, tmp_path / "denoising.gif", seconds=1.2)
    with Image.open(tmp_path / "denoising.gif") as image:
        assert getattr(image, "n_frames", 1) == 6
        assert image.info["loop"] == 0
        durations = []
        for index, frame in enumerate(frames):
            image.seek(index)
            durations.append(image.info["duration"])
            np.testing.assert_array_equal(
                np.asarray(image.convert("RGB")), np.asarray(frame.convert("RGB"))
            )
    assert durations == [200] * 5 + [1500]


def test_frames_are_never_shorter_than_viewers_can_show(tmp_path: Path) -> None:
    save_animation(
        denoising_animation(levels(9, 1, 1, 8, 8), 5), tmp_path / "fast.gif", seconds=0.01
    )
    with Image.open(tmp_path / "fast.gif") as image:
        assert image.info["duration"] == 20


def test_an_animation_needs_frames_and_time(tmp_path: Path) -> None:
    frames = denoising_animation(levels(2, 1, 1, 8, 8), 5)
    with pytest.raises(UserError, match="keep frames while sampling"):
        save_animation([], tmp_path / "a.gif", seconds=1)
    with pytest.raises(UserError, match="seconds must be positive"):
        save_animation(frames, tmp_path / "a.gif", seconds=0)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.png"
    grid = sample_grid(levels(4, 1, 8, 8), 5)
    save_image(grid, path)
    before = path.read_bytes()

    def half_written(_image: Image.Image, file: BinaryIO, **_: object) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        save_image(grid, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_needs_a_folder_and_the_right_ending(tmp_path: Path) -> None:
    grid = sample_grid(levels(1, 1, 8, 8), 5)
    with pytest.raises(UserError, match=r"path must end in \.png.*name it samples\.png"):
        save_image(grid, tmp_path / "samples.jpg")
    with pytest.raises(UserError, match=r"lie in a folder that exists.*create .*missing first"):
        save_image(grid, tmp_path / "missing" / "samples.png")
