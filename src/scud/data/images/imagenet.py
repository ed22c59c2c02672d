"""Downsampled ImageNet's archives, train_data_batch_1.npz and so on, and val_data.npz."""

import re
from collections.abc import Collection
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.images.pixels import Pixels, Read, entries, left_out
from scud.data.labels import checked_labels
from scud.errors import fail
from scud.files import is_file
from scud.files.arrays import npz_arrays
from scud.files.memory import check_read

_TRAIN = re.compile(r"train_data_batch(_([0-9]+))?\.npz")
_VALID = "val_data.npz"
_AGAIN = "download it again"
_BESIDE = ("data", "labels", "mean")


def is_imagenet(folder: Path) -> bool:
    """Whether a folder holds downsampled ImageNet's archives."""
    return is_file(folder / _VALID) or bool(_batches(folder))


def is_batch(names: Collection[str]) -> bool:
    """Whether arrays of these names are an archive of downsampled ImageNet."""
    return {"data", "labels"}.issubset(names)


def read_imagenet(folder: Path) -> Read:
    """Downsampled ImageNet: train_data_batch_1.npz and so on, and val_data.npz, the validation split; labels become 0..999.

    Raises:
        UserError: there are no training images, or an archive is damaged or of another kind.
    """
    numbers = _batches(folder)
    if not numbers:
        rule, remedy = "hold train_data_batch_1.npz", "put it beside the others"
        raise fail(str(folder), rule, "no such file", remedy)
    batches = [numbers[number] for number in sorted(numbers)]
    train, report = joined(batches)
    splits = {"train": train}
    absent = [str(number) for number in range(1, max(numbers)) if number not in numbers]
    if absent:
        report.append(f"training batches without {', '.join(absent[:20])}: no such files")
    if is_file(folder / _VALID):
        splits["valid"], lines = joined([folder / _VALID])
        report += lines
    return splits, report + left_out(folder, [*batches, folder / _VALID])


def _batches(folder: Path) -> dict[int, Path]:
    """The archives of training images by their numbers."""
    found: dict[int, Path] = {}
    for file in entries(folder):
        match = _TRAIN.fullmatch(file.name)
        if match and is_file(file):
            number = int(match[2] or 0)
            if number in found:
                rule, both = "hold each batch once", f"{found[number].name} and {file.name}"
                raise fail(str(folder), rule, both, "leave out one of them")
            found[number] = file
    return found


def joined(paths: list[Path]) -> tuple[Pixels, list[str]]:
    """The images of archives of `data`, uint8 [N, 3 size size] in planes, and `labels` [N], 1..1000; and a line about others."""
    labels, others = list[NDArray[np.int64]](), list[str]()
    for path in paths:
        label, unused = _labels(path)
        labels.append(label)
        others += unused
    values, start = 0, 0
    pixels = np.empty((0, 0), np.uint8)
    for path, label in zip(paths, labels, strict=True):
        data = _data(path, len(label))
        if start == 0:
            values, total = data.shape[1], sum(map(len, labels))
            remedy = "give fewer archives"
            check_read(str(path.parent), total * values, f"{total:,} images", remedy)
            pixels = np.empty((total, values), np.uint8)
        if data.shape[1] != values:
            rule, remedy = f"have {values} values an image", "keep each size in its own folder"
            raise fail(f"data in {path}", rule, data.shape[1], remedy)
        pixels[start : start + len(label)] = data
        start += len(label)
    size = isqrt(values // 3)
    names = ", ".join(dict.fromkeys(others))
    report = [f"left out of the arrays: {names}"] if others else []
    return Pixels(pixels.reshape(-1, 3, size, size), np.concatenate(labels)), report


def _data(path: Path, count: int) -> NDArray[np.uint8]:
    """Pixels [count, 3 size size]."""
    data: NDArray[Any] = npz_arrays(path, ["data"], argument="path", remedy=_AGAIN)[0]["data"]
    size = isqrt(data.shape[1] // 3) if data.ndim == 2 else 0
    if data.dtype != np.uint8 or size == 0 or data.shape != (count, 3 * size * size):
        found = f"{data.dtype} {list(data.shape)}"
        raise fail(f"data in {path}", f"be uint8 [{count}, 3 size size]", found, _AGAIN)
    return data


def _labels(path: Path) -> tuple[NDArray[np.int64], list[str]]:
    """Labels [N], 0..999, and the names of the arrays that are not read."""
    arrays, found = npz_arrays(path, ["labels"], argument="path", remedy=_AGAIN)
    if not is_batch(found):
        had = ", ".join(found) or "no arrays"
        raise fail(str(path), "hold arrays data and labels", had, _AGAIN)
    name, given = f"labels in {path}", arrays["labels"]
    if given.dtype.kind not in "iu":
        raise fail(name, "hold integers", given.dtype, _AGAIN)
    label = np.asarray(checked_labels(name, given, given.size), np.int64)
    if label.size == 0:
        raise fail(name, "hold at least one label", "none", _AGAIN)
    low, high = label.min(), label.max()
    if low < 1 or high > 1000:
        raise fail(name, "lie in 1..1000", low if low < 1 else high, _AGAIN)
    return label - 1, [other for other in found if other not in _BESIDE]
