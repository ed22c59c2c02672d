"""Images: the digits that ship with scikit-learn, and any data set that was saved as an `.npz` file.

Pixels v in 0..255 become levels floor(v B / 256): each of the B levels stands for the same number of pixel values (or
for one more or less, where B does not divide 256). Rounding would give the two ends half the share of the others.

Splits that are made here come from a fixed shuffle, which is the same on every machine.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scud.data.source import Examples, Source
from scud.errors import check_in_interval, fail

_SHUFFLE_SEED = 20250608
_DIGITS_SIZES = {"train": 1350, "valid": 150, "test": 297}
_SPLITS = ("train", "valid", "test")


def load_digits() -> Source:
    """scikit-learn's 1,797 handwritten digits: dims (1, 8, 8), 17 levels as they are, ten classes.

    Split into 1,350 for training, 150 for validation and 297 for test by `stratified_split`: always the same.
    """
    from sklearn import datasets  # slow to import, and needed here alone

    digits = datasets.load_digits()
    x = torch.from_numpy(digits.images.astype(np.uint8)[:, None])
    label = torch.from_numpy(digits.target.astype(np.int64))
    parts = stratified_split(digits.target, _DIGITS_SIZES)
    splits = {name: Examples(x[index], label[index]) for name, index in parts.items()}
    return Source(name="digits", num_states=17, dims=(1, 8, 8), splits=splits)


def load_images(path: str | Path, num_states: int) -> Source:
    """Images from an `.npz` file, quantised to `num_states` levels; dims (channels, height, width).

    The file holds `x_train` and, if there are any, `x_valid` and `x_test`: integers in 0..255, [N, height, width] or
    [N, height, width, channels] with 1 or 3 channels; and their class labels `y_train`, `y_valid` and `y_test` [N].
    Without `x_valid`, the last tenth (at least one image) of a fixed shuffle of `x_train` is held out for validation.
    """
    path = Path(path)
    check_in_interval("num_states", num_states, 2, 256, "choose the number of grey or colour levels, such as 16 or 256")
    names = [f"{kind}_{split}" for split in _SPLITS for kind in "xy"]
    arrays = _read_arrays(path, names, "x_train")
    splits: dict[str, Examples] = {}
    for split in _SPLITS:
        images, y = arrays.get(f"x_{split}"), arrays.get(f"y_{split}")
        if images is not None:
            levels = quantise(_to_pixels(f"x_{split} in {path}", images), num_states)
            label = None if y is None else torch.from_numpy(_to_label(f"y_{split} in {path}", y, len(levels)))
            splits[split] = Examples(torch.from_numpy(levels), label)
        elif y is not None:
            raise fail(f"y_{split} in {path}", f"come with x_{split}", "labels alone", f"add x_{split} to the file")
    x = splits["train"].x
    if x.min() == x.max():
        remedy = "spread the pixel values over 0..255, or raise num_states"
        raise fail(f"x_train in {path}", f"hold more than one of the {num_states} levels", f"level {x.min()}", remedy)
    if "valid" not in splits:
        splits |= _hold_out(path, splits["train"])
    return Source(name=path.stem, num_states=num_states, dims=tuple(x.shape[1:]), splits=splits)


def load_samples(path: str | Path, dims: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] of generated images: the array `x` of an `.npz` file, as `load_images` has them.

    Raises:
        UserError: no such file or array, or images that are not of shape dims (channels, height, width).
    """
    name = f"x in {path}"
    pixels = _to_pixels(name, _read_arrays(Path(path), ["x"], "x")["x"])
    if pixels.shape[1:] != dims:
        rule = "hold images of the model's {} channel(s), height {} and width {}".format(*dims)
        raise fail(name, rule, "{}, {} and {}".format(*pixels.shape[1:]), "give samples of this model")
    return pixels


def quantise(pixels: NDArray[np.uint8], num_states: int) -> NDArray[np.uint8]:
    """floor(pixels * num_states / 256), for 2..256 states; any shape."""
    levels = (np.arange(256) * num_states // 256).astype(np.uint8)
    return levels[pixels]


def stratified_split(label: NDArray[np.integer[Any]], sizes: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Divide examples among splits of exactly these `sizes`, each label in proportion; indices into `label` [N].

    Each split but the first gets its share of every label by the largest-remainder rule; the first gets what is left.
    Each split is in the order of a fixed shuffle of its own.
    """
    order = _fixed_shuffle(len(label))
    classes, counts = np.unique(label, return_counts=True)
    others = [_largest_remainder(counts, size) for size in list(sizes.values())[1:]]
    quotas = np.stack([counts - sum(others), *others])
    part_of = np.empty(len(label), dtype=np.int64)
    for quota, value in zip(quotas.T, classes, strict=True):
        part_of[order[label[order] == value]] = np.repeat(np.arange(len(sizes)), quota)
    members = {name: np.flatnonzero(part_of == part) for part, name in enumerate(sizes)}
    return {name: index[_fixed_shuffle(len(index))] for name, index in members.items()}


def _largest_remainder(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Integers [labels] that sum to `total`, each within one of its proportional share of it."""
    quotas, remainders = np.divmod(counts * total, counts.sum())
    missing = total - quotas.sum()
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return quotas


def _fixed_shuffle(count: int) -> NDArray[np.int64]:
    """A permutation of 0..count-1. numpy keeps the raw stream of PCG64 for ever, but not what Generator makes of it."""
    return np.argsort(np.random.PCG64(_SHUFFLE_SEED).random_raw(count), kind="stable")


def _hold_out(path: Path, examples: Examples) -> dict[str, Examples]:
    """`examples` divided into "train" and "valid"."""
    if len(examples) < 2:
        raise fail(f"x_train in {path}", "hold two images or more", "one", "add images, or add x_valid to the file")
    order = torch.from_numpy(_fixed_shuffle(len(examples)))
    valid = max(1, len(examples) // 10)
    label = examples.label
    return {
        name: Examples(examples.x[index], None if label is None else label[index])
        for name, index in (("train", order[:-valid]), ("valid", order[-valid:]))
    }


def _read_arrays(path: Path, names: list[str], needed: str) -> dict[str, NDArray[Any]]:
    """Those arrays of an `.npz` file that have one of these names, the needed one certainly among them."""
    if not path.is_file():
        raise fail("path", "name a file that exists", path, "check the spelling, or give the full path")
    remedy = f"write it again with np.savez_compressed(path, {needed}=images), images being an array of np.uint8"
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not an .npz file, or cut short")
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            arrays = {name: np.asarray(archive[name]) for name in names if name in found}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise fail("path", "be an undamaged .npz file without pickled objects", f"{path} ({error})", remedy) from error
    if needed not in arrays:
        raise fail("path", f"hold an array {needed}", f"{path} with {', '.join(found) or 'no arrays'}", remedy)
    return arrays


def _check_integers(name: str, array: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """`array`, which must hold integers."""
    if array.dtype.kind not in "iu":
        remedy = "convert it with .astype(np.uint8), after multiplying by 255 if it holds images in 0..1"
        raise fail(name, "hold integers", array.dtype, remedy)
    return array


def _to_label(name: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Class labels [count]."""
    label = _check_integers(name, array)
    if label.shape != (count,):
        raise fail(name, f"have shape [{count}]", list(label.shape), "give one label per image, or leave the array out")
    return label.astype(np.int64)


def _to_pixels(name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] from an array as users have them."""
    images = _check_integers(name, array)
    if images.ndim not in (3, 4):
        rule = "have shape [N, height, width] or [N, height, width, channels]"
        raise fail(name, rule, list(images.shape), "reshape it")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] not in (1, 3):
        remedy = "put the channels last, and drop any but grey or red, green and blue"
        raise fail(name, "have 1 or 3 channels", list(images.shape), remedy)
    if images.size == 0:
        raise fail(name, "hold at least one image", list(images.shape), "add images, or leave the array out")
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise fail(name, "hold values in 0..255", low if low < 0 else high, "rescale it to 0..255")
    return np.ascontiguousarray(np.moveaxis(images, -1, 1).astype(np.uint8))
