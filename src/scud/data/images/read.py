"""Files and folders of images: their pixels by split, and levels of pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scud.data.images.archives import (
    Pixels,
    is_cifar,
    is_idx,
    is_imagenet,
    read_cifar,
    read_idx,
    read_imagenet,
    read_npz,
    refuse_pickle,
)
from scud.data.images.pictures import read_folder
from scud.data.images.tables import read_parquet
from scud.data.tables import parquet_files
from scud.errors import fail

_SLICE = 1 << 20
_FOLDERS: list[tuple[Callable[[Path], object], Callable[[Path], dict[str, Pixels]]]] = [
    (is_cifar, read_cifar),
    (is_idx, read_idx),
    (is_imagenet, read_imagenet),
    (parquet_files, read_parquet),
]
"""How to recognise each kind of folder, and to read it."""


def read_pixels(path: Path) -> tuple[dict[str, Pixels], list[str]]:
    """The images of each split, and what to report of reading them."""
    if path.is_dir():
        for holds, read in _FOLDERS:
            if holds(path):
                return read(path), []
        refuse_pickle(path)
        return read_folder(path)
    if not path.is_file():
        remedy = (
            "check the spelling, or give the full path; sets of the hub are named by --data.hub"
        )
        raise fail("path", "name a file or folder that exists", path, remedy)
    name = path.name.lower()
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return read_cifar(path), []
    if name.endswith(".parquet"):
        return read_parquet(path), []
    if name.endswith(".npz"):
        return read_npz(path), []
    refuse_pickle(path)
    remedy = (
        "give an .npz or .parquet file, cifar-10-binary.tar.gz, or the folder that this file is in"
    )
    raise fail("path", "name a file of a known kind, or a folder", path, remedy)


def read_levels(path: Path, split: str, num_states: int) -> NDArray[np.uint8]:
    """Levels [N, channels, height, width] of the split of a file or folder, or of its training split.

    Raises:
        UserError: as in `load_images`.
    """
    parts, _ = read_pixels(path.resolve())
    return quantise(parts.get(split, parts["train"]).pixels, num_states)


def quantise(pixels: NDArray[np.uint8], num_states: int) -> NDArray[np.uint8]:
    """floor(pixels * num_states / 256), for 2..256 states; any shape.

    In place, so that a large data set is in memory once.
    """
    levels = (np.arange(256) * num_states // 256).astype(np.uint8)
    if num_states < 256:
        rows = max(1, _SLICE * len(pixels) // max(1, pixels.size))
        # By slices, because numpy takes eight bytes for each index.
        for start in range(0, len(pixels), rows):
            pixels[start : start + rows] = levels[pixels[start : start + rows]]
    return pixels
