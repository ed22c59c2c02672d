"""Arrays of images in `.npz` files: those that users write, samples, and what all of them must be like.

Nothing here unpickles. Pixels are held at most twice while a file is read.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.images.imagenet import is_batch, joined
from scud.data.images.pixels import Pixels, Read
from scud.data.labels import checked_labels
from scud.data.split_arrays import read_split_arrays
from scud.errors import fail
from scud.files.arrays import npz_arrays

_SAVE = "write it again with np.savez_compressed(path, x_train=images), images being an array of np.uint8"


def read_npz(path: Path) -> Read:
    """An archive of `x_train`, `x_valid` and `x_test`, or some of them, with labels `y_train`, …; or one of ImageNet's.

    Raises:
        UserError: the archive is damaged, or an array is missing or not as it should be.
    """
    arrays, report, held = read_split_arrays(path, _SAVE)
    if not arrays:
        if is_batch(held):
            train, lines = joined([path])
            return {"train": train}, lines
        found = f"{path} with {', '.join(held) or 'no arrays'}"
        raise fail("path", "hold an array x_train", found, _SAVE)
    splits: dict[str, Pixels] = {}
    for split in list(arrays):
        part = arrays.pop(split)
        pixels = _to_pixels(part.x_name, part.x)
        label = None if part.y is None else checked_labels(part.y_name, part.y, len(pixels))
        splits[split] = Pixels(pixels, label)
    return splits, report


def read_samples(path: Path, dims: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] of generated images: the array `x` of an `.npz` file.

    Raises:
        UserError: no such file or array, or images that are not of shape dims (channels, height, width).
    """
    remedy = "give what scud sample wrote, or np.savez_compressed(path, x=images)"
    arrays, found = npz_arrays(path, ["x"], argument="samples", remedy=remedy)
    if "x" not in arrays:
        had = f"{path} with {', '.join(found) or 'no arrays'}"
        raise fail("samples", "hold an array x", had, remedy)
    pixels = _to_pixels(f"x in {path}", arrays["x"])
    if pixels.shape[1:] != dims:
        rule = "hold images of the model's {} channel(s), height {} and width {}".format(*dims)
        shape = "{}, {} and {}".format(*pixels.shape[1:])
        raise fail(f"x in {path}", rule, shape, "give samples of this model")
    return pixels


def _to_pixels(name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] from an array as users have them."""
    if array.dtype.kind not in "iu":
        remedy = (
            "convert it with .astype(np.uint8), after multiplying by 255 if it holds images in 0..1"
        )
        raise fail(name, "hold integers", array.dtype, remedy)
    images = array
    if images.ndim not in (3, 4):
        rule = "have shape [N, height, width] or [N, height, width, channels]"
        raise fail(name, rule, list(images.shape), "reshape it")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] not in (1, 3):
        remedy = "put the channels last, and drop any but grey or red, green and blue"
        raise fail(name, "have 1 or 3 channels", list(images.shape), remedy)
    if images.size == 0:
        raise fail(
            name,
            "hold at least one image",
            list(images.shape),
            "add images, or leave the array out",
        )
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise fail(name, "hold values in 0..255", low if low < 0 else high, "rescale it to 0..255")
    return np.ascontiguousarray(np.moveaxis(images.astype(np.uint8, copy=False), -1, 1))
