"""Images: the digits of scikit-learn, and images from files, folders and the Hugging Face hub.

Pixels v in 0..255 become levels floor(v B / 256): each of the B levels stands for the same number
of pixel values (or for one more or less, where B does not divide 256). Rounding would give the two
ends half the share of the others.

Splits that are made here come from a fixed shuffle, which is the same on every machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scud.data.dataset import Data
from scud.data.examples import Examples, check_examples, hold_out_examples, lines_of
from scud.data.files import check_share
from scud.data.images.augment import mirror_half
from scud.data.images.modality import Images, check_levels
from scud.data.images.pixels import Pixels, listed
from scud.data.images.read import quantise, read_pixels
from scud.data.images.tables import read_hub
from scud.data.labels import LabelTable, classes_line, number_labels, occurring, read_labels
from scud.data.splits import SPLITS, added_line, fixed_shuffle, split_for
from scud.errors import fail
from scud.files import absolute

_DIGITS_SIZES = {"train": 1350, "valid": 150, "test": 297}


def load_digits() -> Data:
    """scikit-learn's 1,797 handwritten digits: dims (1, 8, 8), 17 levels as they are, ten classes.

    Split into 1,350 for training, 150 for validation and 297 for test by `stratified_split`:
    always the same.
    """
    from sklearn import datasets  # slow to import, and needed here alone

    digits = datasets.load_digits()
    x = torch.from_numpy(digits.images.astype(np.uint8)[:, None])
    names, (numbers,) = number_labels([digits.target.astype(np.int64)])
    assert numbers is not None, "every digit has a label"
    label = torch.from_numpy(numbers)
    parts = stratified_split(digits.target, _DIGITS_SIZES)
    splits = {name: Examples(x[index], label[index]) for name, index in parts.items()}
    return Data("digits", splits, Images(17, (1, 8, 8)), label_names=names)


def load_images(
    path: str | Path,
    num_states: int,
    valid_share: float = 0.05,
    *,
    files: Mapping[str, Path | None] | None = None,
    labels: Path | None = None,
    flips: bool = False,
) -> Data:
    """Images from a file or a folder, as levels; dims (channels, height, width).

    What it is shows from its name and from what is in it:

    - an `.npz` file of `x_train` and, if there are any, `x_valid` and `x_test`: integers in
      0..255, [N, height, width] or [N, height, width, channels] with 1 or 3 channels; and of their
      class labels `y_train`, `y_valid` and `y_test` [N], integers (-1: none) or texts;
    - CIFAR-10's binary version, as a folder or as cifar-10-binary.tar.gz;
    - a folder of MNIST's or Fashion-MNIST's idx files, gzipped or not;
    - a folder of downsampled ImageNet's train_data_batch_1.npz, … and val_data.npz, or a single
      one of these;
    - a `.parquet` file or a folder of them, as the Hugging Face hub has (see `scud.data.tables`);
    - a folder of pictures, perhaps one per class, perhaps below train, valid and test (see
      `scud.data.images.folders`).

    Splits may have other usual names (see `scud.data.splits`); what is left out is in the report.

    Without images for validation, the last `valid_share` (at least one image) of a fixed shuffle
    of those for training is held out. Images for test are never used for validation.

    Args:
        path: the file or folder.
        num_states: levels B.
        valid_share: share held out for validation where there is nothing else.
        files: files or folders of "valid" and "test", of the same kinds, or None where there is
            none; of one that has splits of its own, that of the name is taken. They replace the
            splits that `path` has.
        labels: a file of labels by picture's file name (see `scud.data.labels`).
        flips: whether each training image is mirrored left to right half of the time.

    Raises:
        UserError: the path, a file or an image is not as it should be.
    """
    path = absolute(Path(path))
    check_options(num_states, valid_share)
    images, report = read_pixels(path)
    if "train" not in images:
        remedy = "add x_train to the file, or name a file of training images as data.train"
        raise fail("path", "hold an array x_train", f"{path} with {', '.join(images)}", remedy)
    name = path.name if path.is_dir() else path.stem.removesuffix(".tar")
    report += _add_files(images, files)
    table = None if labels is None else read_labels(labels)
    return _data(name, str(path), images, num_states, valid_share, report, table, flips)


def load_hub_images(
    name: str,
    num_states: int,
    valid_share: float = 0.05,
    *,
    files: Mapping[str, Path | None] | None = None,
    flips: bool = False,
) -> Data:
    """Images of a data set of the Hugging Face hub, otherwise as `load_images`.

    `name` is as `scud.data.tables.hub_tables` takes it.
    """
    check_options(num_states, valid_share)
    images, report = read_hub(name)
    report += _add_files(images, files)
    return _data(name.split("/")[-1], name, images, num_states, valid_share, report, None, flips)


def check_options(num_states: int, valid_share: float) -> None:
    """Raise `UserError` for a number of levels or a share that is held out beyond its limits."""
    check_levels(num_states)
    check_share(valid_share)


def stratified_split(
    label: NDArray[np.integer[Any]], sizes: Mapping[str, int]
) -> dict[str, NDArray[np.int64]]:
    """Divide examples among splits of exactly these `sizes`, each label in proportion.

    Each split but the first gets its share of every label by the largest-remainder rule; the first
    gets the others. Each split is in the order of a fixed shuffle of its own.

    Returns:
        The indices of each split into `label` [N].
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


def _add_files(images: dict[str, Pixels], files: Mapping[str, Path | None] | None) -> list[str]:
    """Put the images of files in the place of splits; what to report of reading them."""
    report: list[str] = []
    for split, path in (files or {}).items():
        if path is not None:
            parts, lines = read_pixels(path)
            taken = split_for(split, parts, path)
            lines += added_line(split, taken, parts, replaced=split in images)
            images[split] = parts[taken]
            report += [f"{split} file: {line}" for line in lines]
    return report


def _data(
    name: str,
    where: str,
    images: dict[str, Pixels],
    num_states: int,
    valid_share: float,
    report: list[str],
    table: LabelTable | None,
    flips: bool,
) -> Data:
    """Quantise images, which are taken out of the dictionary; hold out what validation needs."""
    present = [split for split in SPLITS if split in images]
    parts = [images[split] for split in present]
    if table is None:
        names, labels = number_labels([part.label for part in parts])
    else:
        names, labels, lines = _labels_by_name(where, parts, table)
        report += lines
    del parts
    low, high = int(images["train"].pixels.min()), int(images["train"].pixels.max())
    splits: dict[str, Examples] = {}
    for split, label in zip(present, labels, strict=True):
        levels = torch.from_numpy(quantise(images.pop(split).pixels, num_states))
        splits[split] = Examples(levels, None if label is None else torch.from_numpy(label))
    report += levels_line(f"train of {where}", splits["train"], low, high, num_states)
    note = ""
    if "valid" not in splits:
        splits |= hold_out_examples(f"train of {where}", splits["train"], valid_share, "images")
        note = ", held out of those for training"
    report += classes_line(names)
    for split, part in splits.items():
        report.append(f"{split}: {len(part):,} images{note if split == 'valid' else ''}")
    x = splits["train"].x
    modality = Images(num_states, (x.shape[1], x.shape[2], x.shape[3]))
    check_examples(splits, num_states, modality.dims)
    augment = mirror_half if flips else None
    return Data(name, splits, modality, names, lines_of(report), augment)


def levels_line(argument: str, train: Examples, low: int, high: int, num_states: int) -> list[str]:
    """The line about pixel values low..high that give less than half of the levels, if they do.

    Raises:
        UserError: they give one level; or less than a quarter, and may be levels already, below B.
    """
    present = int((train.state_counts() > 0).sum())
    found = f"values {low}..{high} give {present} of {num_states} levels"
    remedy = "spread the pixel values over 0..255; `scud train arrays` takes levels as they are"
    if present == 1:
        rule = f"hold more than one of the {num_states} levels"
        raise fail(argument, rule, f"level {int(train.x.flatten()[0])}: {found}", remedy)
    if high < num_states < 256 and 4 * present < num_states:
        rule = f"hold pixel values in 0..255, not levels in 0..{num_states - 1}"
        raise fail(argument, rule, found, remedy)
    narrow = f"; {remedy}" if high - low < 128 else ""
    return [f"{found}{narrow}"] if 2 * present < num_states else []


def _labels_by_name(
    where: str, parts: list[Pixels], table: LabelTable
) -> tuple[tuple[str, ...], list[NDArray[np.int64] | None], list[str]]:
    """Names of labels, each split's labels by the file names of pictures, and lines about what has no partner."""
    rows: list[NDArray[np.int64]] = []
    seen: set[str] = set()
    for part in parts:
        if part.names is None:
            remedy = "add the labels to the file, in an .npz file as y_train"
            raise fail("data.labels", "come with a folder of pictures", where, remedy)
        if part.label is not None:
            remedy = "put all pictures into one folder, or leave out the file"
            raise fail("data.labels", "come with pictures without classes", where, remedy)
        twice = seen.intersection(part.names) or len(set(part.names)) < len(part.names)
        if twice:
            remedy = "rename pictures so that each has a name of its own"
            raise fail("data.labels", "come with pictures of different names", where, remedy)
        seen.update(part.names)
        rows.append(table.rows(part.names))
    names, numbers = occurring(table.names, rows)
    if not names:
        remedy = "the first column holds file names, such as 0001.png"
        raise fail("data.labels", f"name pictures of {where}", "none of them", remedy)
    labels = [numbers[part] for part in rows]
    without, unused = seen.difference(table.of), [name for name in table.of if name not in seen]
    report = [
        *listed(f"{len(without):,} pictures have no label", sorted(without)),
        *listed(f"{len(unused):,} lines of labels name no picture", unused),
    ]
    return names, [part if table.several else part[:, 0] for part in labels], report
