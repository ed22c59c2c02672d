"""Images: the digits that ship with scikit-learn, and images from files, folders and the Hugging Face hub.

Pixels v in 0..255 become levels floor(v B / 256): each of the B levels stands for the same number of pixel values (or
for one more or less, where B does not divide 256). Rounding would give the two ends half the share of the others.

Splits that are made here come from a fixed shuffle, which is the same on every machine.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scud.data.images.archives import (
    Images,
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
from scud.data.images.tables import read_hub, read_parquet
from scud.data.source import Examples, Source
from scud.data.splits import SPLITS, fixed_shuffle
from scud.data.tables import parquet_files
from scud.errors import check_in_interval, fail

_DIGITS_SIZES = {"train": 1350, "valid": 150, "test": 297}
_SLICE = 1 << 20
_FOLDERS: list[tuple[Callable[[Path], object], Callable[[Path], dict[str, Images]]]] = [
    (is_cifar, read_cifar),
    (is_idx, read_idx),
    (is_imagenet, read_imagenet),
    (parquet_files, read_parquet),
]
"""How to recognise each kind of folder, and to read it."""


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


def load_images(path: str | Path, num_states: int, valid_share: float = 0.05) -> Source:
    """Images from a file or a folder, quantised to `num_states` levels; dims (channels, height, width).

    What it is shows from its name and from what is in it:

    - an `.npz` file of `x_train` and, if there are any, `x_valid` and `x_test`: integers in 0..255, [N, height, width] or
      [N, height, width, channels] with 1 or 3 channels; and of their class labels `y_train`, `y_valid` and `y_test` [N];
    - CIFAR-10's binary version, as a folder or as cifar-10-binary.tar.gz;
    - a folder of MNIST's or Fashion-MNIST's idx files, gzipped or not;
    - a folder of downsampled ImageNet's train_data_batch_1.npz, … and val_data.npz, or a single one of these;
    - a `.parquet` file or a folder of them, as the Hugging Face hub has (see `scud.data.tables`);
    - a folder of pictures, perhaps one per class, perhaps below train, valid and test (see `scud.data.images.pictures`).

    Without images for validation, the last `valid_share` (at least one image) of a fixed shuffle of those for training is
    held out. Images for test are never used for validation.

    Raises:
        UserError: the path, a file or an image is not as it should be.
    """
    path = Path(path).resolve()
    _check_options(num_states, valid_share)
    images, report = _read(path)
    name = path.name if path.is_dir() else path.stem.removesuffix(".tar")
    return _source(name, str(path), images, num_states, valid_share, report)


def load_hub_images(name: str, num_states: int, valid_share: float = 0.05) -> Source:
    """Images of a data set of the Hugging Face hub (see `scud.data.tables.hub_tables`), otherwise as `load_images`."""
    _check_options(num_states, valid_share)
    return _source(name.split("/")[-1], name, read_hub(name), num_states, valid_share, [])


def quantise(pixels: NDArray[np.uint8], num_states: int) -> NDArray[np.uint8]:
    """floor(pixels * num_states / 256), for 2..256 states; in place, so that a large data set is in memory once. Any shape."""
    levels = (np.arange(256) * num_states // 256).astype(np.uint8)
    if num_states < 256:
        rows = max(1, _SLICE * len(pixels) // max(1, pixels.size))
        for start in range(0, len(pixels), rows):  # by slices, because numpy takes eight bytes for each index
            pixels[start : start + rows] = levels[pixels[start : start + rows]]
    return pixels


def stratified_split(label: NDArray[np.integer[Any]], sizes: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Divide examples among splits of exactly these `sizes`, each label in proportion; indices into `label` [N].

    Each split but the first gets its share of every label by the largest-remainder rule; the first gets what is left.
    Each split is in the order of a fixed shuffle of its own.
    """
    order = fixed_shuffle(len(label))
    classes, counts = np.unique(label, return_counts=True)
    others = [_largest_remainder(counts, size) for size in list(sizes.values())[1:]]
    quotas = np.stack([counts - sum(others), *others])
    part_of = np.empty(len(label), dtype=np.int64)
    for quota, value in zip(quotas.T, classes, strict=True):
        part_of[order[label[order] == value]] = np.repeat(np.arange(len(sizes)), quota)
    members = {name: np.flatnonzero(part_of == part) for part, name in enumerate(sizes)}
    return {name: index[fixed_shuffle(len(index))] for name, index in members.items()}


def _largest_remainder(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Integers [labels] that sum to `total`, each within one of its proportional share of it."""
    quotas, remainders = np.divmod(counts * total, counts.sum())
    missing = total - quotas.sum()
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return quotas


def _check_options(num_states: int, valid_share: float) -> None:
    remedy = "choose the number of grey or colour levels, such as 16 or 256; pixels are bytes, so there are no more"
    check_in_interval("num_states", num_states, 2, 256, remedy)
    check_in_interval("valid_share", valid_share, 0, 1, "choose 0.05, say", open_low=True, open_high=True)


def _read(path: Path) -> tuple[dict[str, Images], list[str]]:
    """The images of each split, and what to report of reading them."""
    if path.is_dir():
        for holds, read in _FOLDERS:
            if holds(path):
                return read(path), []
        refuse_pickle(path)
        return read_folder(path)
    if not path.is_file():
        remedy = "check the spelling, or give the full path; sets of the hub are named by --data.hub"
        raise fail("path", "name a file or folder that exists", path, remedy)
    name = path.name.lower()
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return read_cifar(path), []
    if name.endswith(".parquet"):
        return read_parquet(path), []
    if name.endswith(".npz"):
        return read_npz(path), []
    refuse_pickle(path)
    remedy = "give an .npz or .parquet file, cifar-10-binary.tar.gz, or the folder that this file is in"
    raise fail("path", "name a file of a known kind, or a folder", path, remedy)


def _source(
    name: str, where: str, images: dict[str, Images], num_states: int, valid_share: float, report: list[str]
) -> Source:
    """Quantise images, which are taken out of the dictionary, and hold out what validation needs."""
    splits: dict[str, Examples] = {}
    for split in SPLITS:
        if split in images:
            pixels, label = images.pop(split)
            if pixels.size == 0:
                raise fail(
                    f"{split} of {where}", "hold at least one image", list(pixels.shape), "add images, or leave it out"
                )
            levels = torch.from_numpy(quantise(pixels, num_states))
            splits[split] = Examples(levels, None if label is None else torch.from_numpy(label))
    x = splits["train"].x
    if x.min() == x.max():
        remedy = "spread the pixel values over 0..255, or raise num_states"
        raise fail(f"train of {where}", f"hold more than one of the {num_states} levels", f"level {x.min()}", remedy)
    note = ""
    if "valid" not in splits:
        splits |= _hold_out(where, splits["train"], valid_share)
        note = ", held out of those for training"
    lines = [f"{split}: {len(part):,} images{note if split == 'valid' else ''}" for split, part in splits.items()]
    dims = tuple(x.shape[1:])
    return Source(name=name, num_states=num_states, dims=dims, splits=splits, report=tuple(report + lines))


def _hold_out(where: str, examples: Examples, valid_share: float) -> dict[str, Examples]:
    """`examples` divided into "train" and "valid", at least one each."""
    count = len(examples)
    if count < 2:
        raise fail(f"train of {where}", "hold two images or more", "one", "add images, or images for validation")
    order = torch.from_numpy(fixed_shuffle(count))
    valid = min(max(1, round(count * valid_share)), count - 1)
    label = examples.label
    return {
        name: Examples(examples.x[index], None if label is None else label[index])
        for name, index in (("train", order[:-valid]), ("valid", order[-valid:]))
    }
