"""Pictures of image samples: a grid of them, and an animation of how they came to be.

Level l of B becomes the pixel value ceil(255 l / (B - 1)): the two ends are black and white, and quantising a picture, by
floor(v B / 256), gives its levels back. Rounding to the nearest would not, for most B.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scud.errors import fail
from scud.plots.files import picture_file

_TILE = 64
_MARGIN = 4
_BACKGROUND = 236
_HOLD_MS = 1500
_SHORTEST_MS = 20  # viewers slow down frames that are shorter


def to_pixels(x: NDArray[np.integer[Any]], num_states: int) -> NDArray[np.uint8]:
    """Levels [N, C, H, W] in 0..num_states-1, C = 1 or 3, as pixels [N, H, W, C] in 0..255."""
    if num_states < 2:
        raise fail(
            "num_states", "be 2 or more", num_states, "pass the number of levels of the data"
        )
    if x.ndim != 4 or x.shape[1] not in (1, 3) or x.size == 0:
        remedy = "pass at least one image of 1 or 3 channels"
        raise fail("x", "have shape [N, C, H, W] with C = 1 or 3", list(x.shape), remedy)
    low, high = x.min(), x.max()
    if low < 0 or high >= num_states:
        remedy = "pass the num_states of the data"
        raise fail("x", f"hold levels in 0..{num_states - 1}", low if low < 0 else high, remedy)
    values = (-(-255 * np.arange(num_states) // (num_states - 1))).astype(np.uint8)
    return np.moveaxis(values[x], 1, -1)


def sample_grid(
    x: NDArray[np.integer[Any]], num_states: int, columns: int | None = None
) -> Image.Image:
    """Images [N, C, H, W] side by side, row by row; as square a grid as can be unless `columns` is given.

    Small images are enlarged by a whole factor, without interpolation.
    """
    pixels = to_pixels(x, num_states)
    count, height, width, channels = pixels.shape
    if columns is None:
        columns = ceil(sqrt(count))
    if columns < 1:
        raise fail("columns", "be 1 or more", columns, "leave it out for a square grid")
    columns = min(columns, count)
    rows = ceil(count / columns)
    scale = ceil(_TILE / max(height, width))
    tiles = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    shape = (rows * (height + _MARGIN) + _MARGIN, columns * (width + _MARGIN) + _MARGIN, channels)
    canvas = np.full(shape, _BACKGROUND, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = _MARGIN + row * (height + _MARGIN), _MARGIN + column * (width + _MARGIN)
        canvas[top : top + height, left : left + width] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def denoising_animation(frames: NDArray[np.integer[Any]], num_states: int) -> list[Image.Image]:
    """One grid per frame of [T, N, C, H, W], from noise to data."""
    return [sample_grid(frame, num_states) for frame in frames]


def save_image(image: Image.Image, path: str | Path) -> None:
    """Write `image` as a PNG file."""
    with picture_file(path, ".png") as file:
        image.save(file, format="PNG")


def save_animation(frames: Sequence[Image.Image], path: str | Path, seconds: float) -> None:
    """Write `frames` as a GIF file that loops: `seconds` from first to last, which then stays for 1.5 seconds.

    No frame is shown for less than 20 ms, so many frames take longer. Equal neighbours are stored once, for longer.
    """
    if not frames:
        raise fail("frames", "hold at least one frame", 0, "keep frames while sampling")
    if not seconds > 0:
        raise fail(
            "seconds", "be positive", seconds, "choose the length of the animation, such as 3"
        )
    each = max(_SHORTEST_MS, 10 * round(100 * seconds / len(frames)))
    durations = [each] * (len(frames) - 1) + [_HOLD_MS]
    with picture_file(path, ".gif") as file:
        frames[0].save(
            file, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
        )
