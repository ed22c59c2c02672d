"""MNIST's idx files, and others in their form."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scud.data.images.pixels import Pixels, Read, left_out
from scud.errors import UserError, fail
from scud.files import is_file
from scud.files.memory import check_ratio, check_read

_PREFIXES = {"train": "train", "t10k": "test"}
_AGAIN = "download it again"
_PLAIN = "decompress it with gunzip, if these are really your images"


def is_idx(folder: Path) -> bool:
    """Whether a folder holds MNIST's files of images, or another set in their form."""
    return any(_idx_file(folder, prefix, "images", 3) is not None for prefix in _PREFIXES)


def read_idx(folder: Path) -> Read:
    """MNIST, Fashion-MNIST and others in their form: train-images-idx3-ubyte and t10k-images-idx3-ubyte, the test split.

    Labels, in files such as train-labels-idx1-ubyte, may be left out. Each file is as it is or gzipped (.gz), and a dot may
    stand before idx.

    Raises:
        UserError: the training images are missing, or a file is damaged or of another kind.
    """
    splits: dict[str, Pixels] = {}
    used: list[Path] = []
    for prefix, split in _PREFIXES.items():
        path, labels = (
            _idx_file(folder, prefix, "images", 3),
            _idx_file(folder, prefix, "labels", 1),
        )
        if path is None:
            continue
        used += [file for file in (path, labels) if file is not None]
        pixels = _read_idx(path, 3)[:, None]
        label = None if labels is None else _read_idx(labels, 1).astype(np.int64)
        if label is not None and len(label) != len(pixels):
            rule = f"hold a label for each of {len(pixels)} images"
            raise fail(str(labels), rule, len(label), _AGAIN)
        splits[split] = Pixels(pixels, label)
    if "train" not in splits:
        rule = "hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
        raise fail(str(folder), rule, "neither", "add it")
    return splits, left_out(folder, used)


def _idx_file(folder: Path, prefix: str, kind: str, ndim: int) -> Path | None:
    names = [f"{prefix}-{kind}{dot}idx{ndim}-ubyte" for dot in "-."]
    files = [folder / f"{name}{ending}" for name in names for ending in ("", ".gz")]
    return next((file for file in files if is_file(file)), None)


def _read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """The array of an idx file: bytes 0, 0, 8 (unsigned bytes) and `ndim`, the sizes as big-endian uint32, then the values."""
    magic, header = bytes([0, 0, 8, ndim]), 4 + 4 * ndim
    try:
        held = path.stat().st_size
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            sizes = [int(size) for size in np.frombuffer(start[4:].ljust(4 * ndim, b"\0"), ">u4")]
            # No more than it says, nor than gzip can make of so many bytes; an array that can be written to.
            most = min(prod(sizes) + 1, 1100 * held)
            if start[:4] == magic:
                check_ratio(str(path), most, held, _PLAIN)
                check_read(str(path), most, f"{sizes}", "give fewer images")
            content = bytearray(file.read(most) if start[:4] == magic else b"")
    except UserError:
        raise
    except (OSError, EOFError, MemoryError, OverflowError, zlib.error) as error:
        raise fail(str(path), "be an undamaged file", f"an error ({error})", _AGAIN) from error
    if start[:4] != magic or len(start) < header:
        rule = f"be an idx file of bytes in {ndim} dimensions, which starts {magic.hex(' ')}"
        found = start[:4].hex(" ") or "an empty file"
        raise fail(str(path), rule, found, f"{_AGAIN}; a gzipped file ends in .gz")
    if len(content) != prod(sizes):
        rule = f"hold {header} + {' x '.join(map(str, sizes))} bytes, as it says"
        found = f"{header + len(content)} bytes" if len(content) < prod(sizes) else "more bytes"
        raise fail(str(path), rule, found, _AGAIN)
    return np.frombuffer(content, np.uint8).reshape(sizes)
