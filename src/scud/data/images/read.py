"""Files and folders of images: their pixels by split, and levels of pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scud.data.examples import Examples, lines_of
from scud.data.images.cifar import is_cifar, read_cifar
from scud.data.images.folders import read_folder
from scud.data.images.idx import is_idx, read_idx
from scud.data.images.imagenet import is_imagenet, read_imagenet
from scud.data.images.npz import read_npz
from scud.data.images.pixels import Read, entries, refuse_pickle
from scud.data.images.tables import read_parquet
from scud.data.splits import added_line, split_for
from scud.data.tables import parquet_files
from scud.errors import fail
from scud.files import absolute, check_file, is_folder

_SLICE = 1 << 20
_FOLDERS: list[tuple[Callable[[Path], object], Callable[[Path], Read]]] = [
    (is_cifar, read_cifar),
    (is_idx, read_idx),
    (is_imagenet, read_imagenet),
    (parquet_files, read_parquet),
]
"""How to recognise each kind of folder, and to read it."""


def read_pixels(path: Path) -> Read:
    """The images of each split, and what to report of reading them."""
    if is_folder(path):
        entries(path)  # which raises for a folder that cannot be read
        for holds, read in _FOLDERS:
            if holds(path):
                return read(path)
        refuse_pickle(path)
        return read_folder(path)
    if not path.exists():
        remedy = (
            "check the spelling, or give the full path; sets of the hub are named by --data.hub"
        )
        raise fail("path", "name a file or folder that exists", path, remedy)
    check_file(path, "a file or folder of images")
    name = path.name.lower()
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return read_cifar(path)
    if name.endswith(".parquet"):
        return read_parquet(path)
    if name.endswith(".npz"):
        return read_npz(path)
    refuse_pickle(path)
    remedy = (
        "give an .npz or .parquet file, cifar-10-binary.tar.gz, or the folder that this file is in"
    )
    raise fail("path", "name a file of a known kind, or a folder", path, remedy)


def read_levels(path: Path, split: str, num_states: int) -> Examples:
    """Levels of the split of a file or folder, or of its training split, without labels.

    Raises:
        UserError: as in `load_images`.
    """
    path = absolute(path)
    parts, report = read_pixels(path)
    taken = split_for(split, parts, path)
    report += added_line(split, taken, parts, replaced=False)
    levels = torch.from_numpy(quantise(parts[taken].pixels, num_states))
    return Examples(levels, report=lines_of(report))


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
