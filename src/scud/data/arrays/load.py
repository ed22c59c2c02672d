"""Arrays of categories of any meaning: integers [N, *dims], from files or from tensors.

A state is a number in 0..B-1. B is the largest state of the training split and 1 more, unless it
is given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.arrays.modality import Arrays, check_num_states
from scud.data.base import Data
from scud.data.examples import Examples, check_examples, hold_out_examples, smallest_dtype
from scud.data.files import check_share
from scud.data.labels import number_labels
from scud.data.splits import SPLITS
from scud.errors import check_states, fail
from scud.files.arrays import npy_array, npz_arrays

_SAVE = "write it with np.save(path, x), or np.savez_compressed(path, x_train=x), of integers"
_CONVERT = "number the categories from 0 on, and convert with .astype(np.int64)"

Labels = NDArray[np.int64] | NDArray[np.str_]


def load_arrays(
    path: str | Path,
    num_states: int | None = None,
    valid_share: float = 0.05,
    *,
    files: Mapping[str, Path | None] | None = None,
) -> Data:
    """Arrays of integers from files.

    Args:
        path: an `.npy` file of the training examples [N, *dims]; or an `.npz` file of `x_train`
            and, if there are any, `x_valid` and `x_test`, and of their class labels `y_train`,
            `y_valid` and `y_test` [N], integers (-1: none) or texts.
        num_states: B.
        valid_share: share of the training examples held out, by a fixed shuffle, where there are
            none for validation.
        files: such files of "valid" and "test", or None where there is none; of an `.npz` file that
            has the split of that name, it is taken. They replace the splits that `path` has.

    Raises:
        UserError: a file is missing or damaged, an array does not hold integers from 0 on, splits
            differ in shape, or a state is beyond B.
    """
    path = Path(path).resolve()
    check_share(valid_share)
    if num_states is not None:
        check_num_states(num_states)
    arrays = _read(path)
    for split, file in (files or {}).items():
        if file is not None:
            parts = _read(file)
            arrays[split] = parts.get(split, parts["train"])
    present = [split for split in SPLITS if split in arrays]
    names, labels = number_labels([arrays[split][1] for split in present])
    found = int(arrays["train"][0].max()) + 1
    modality = Arrays(max(found, 2) if num_states is None else num_states, _dims(arrays["train"][0]))
    splits: dict[str, Examples] = {}
    for split, label in zip(present, labels, strict=True):
        x = arrays.pop(split)[0]
        tensor = None if label is None else torch.from_numpy(label)
        splits[split] = _examples(split, x, tensor, modality.num_states)
    note = ""
    if "valid" not in splits:
        splits |= hold_out_examples(f"train of {path}", splits["train"], valid_share, "examples")
        note = ", held out of those for training"
    check_examples(splits, modality.num_states, modality.dims)
    lines = [f"states 0..{modality.num_states - 1}"]
    for split, part in splits.items():
        lines.append(f"{split}: {len(part):,} arrays{note if split == 'valid' else ''}")
    return Data(path.stem, splits, modality, names, tuple(lines))


def read_examples(path: Path, split: str, num_states: int) -> Examples:
    """The examples of the split of a file, or of its training split, without labels.

    Raises:
        UserError: as in `load_arrays`.
    """
    parts = _read(path.resolve())
    states, _ = parts.get(split, parts["train"])
    return _examples(str(path), states, None, num_states)


def from_tensors(
    states: Mapping[str, Tensor | None],
    labels: Mapping[str, Tensor | None],
    num_states: int | None,
    label_names: Sequence[str] | None,
    name: str,
) -> Data:
    """Data of tensors; see `scud.data.Data.of`.

    Args:
        states: of each split, [N, *dims]; None where there is no such split.
        labels: of each split, [N] or [N, most]; None where there are none.
        num_states: B, or None.
        label_names: what each label is called, or None.
        name: what to call the data.
    """
    train = states["train"]
    if train is None or train.ndim < 2:
        found = "nothing" if train is None else list(train.shape)
        raise fail("train", "be states [N, *dims]", found, "give one row for each example")
    check_states("train", train, 1 << 62)
    if num_states is None:
        num_states = max(int(train.max()) + 1, 2)
    check_num_states(num_states)
    modality = Arrays(num_states, tuple(train.shape[1:]))
    present = {split: x.cpu() for split, x in states.items() if x is not None}
    check_examples({split: Examples(x) for split, x in present.items()}, num_states, modality.dims)
    given = {split: label for split, label in labels.items() if label is not None}
    for split, label in given.items():
        _check_label(split, label, present.get(split))
    names, given = _named(given, label_names)
    dtype = smallest_dtype(num_states)
    splits = {split: Examples(x.to(dtype), given.get(split)) for split, x in present.items()}
    return Data(name, splits, modality, names)


def _named(labels: dict[str, Tensor], label_names: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Names of labels, and the labels by their places among these."""
    if label_names is None:
        flat = [label.flatten().numpy() for label in labels.values()]
        names, numbers = number_labels(flat)
        renumbered = {
            split: torch.from_numpy(number).reshape(label.shape)
            for (split, label), number in zip(labels.items(), numbers, strict=True)
            if number is not None
        }
        return names, renumbered
    names = tuple(label_names)
    for split, label in labels.items():
        low, high = int(label.min()), int(label.max())
        if low < -1 or high >= len(names):
            rule = f"lie in 0..{len(names) - 1}, the places of label_names, or be -1 for none"
            found = low if low < -1 else high
            raise fail(f"labels of {split}", rule, found, "name every label")
    return names, labels


def _check_label(split: str, label: Tensor, x: Tensor | None) -> None:
    """Raise unless labels are integers [N] or [N, most] of N examples."""
    if label.dtype.is_floating_point or label.dtype.is_complex or label.dtype == torch.bool:
        raise TypeError(f"labels of {split} must be integers, got dtype {label.dtype}; convert with .long()")
    if x is None or label.ndim not in (1, 2) or len(label) != len(x) or label.numel() == 0:
        count = "no such split" if x is None else f"{list(label.shape)} for {len(x)} examples"
        remedy = "give one label, or one row of labels, for each example"
        raise fail(f"labels of {split}", "be [N] or [N, most]", count, remedy)


def _read(path: Path) -> dict[str, tuple[NDArray[np.integer[Any]], Labels | None]]:
    """States [N, *dims] and labels [N] of each split in a file."""
    if not path.is_file():
        remedy = "check the spelling, or give the full path"
        raise fail("path", "name a file that exists", path, remedy)
    if path.suffix.lower() == ".npy":
        array = npy_array(path, argument="path", remedy=_SAVE)
        return {"train": (_to_states(f"the array in {path}", array), None)}
    if path.suffix.lower() != ".npz":
        raise fail("path", "end in .npy or .npz", path, _SAVE)
    names = [f"{kind}_{split}" for split in SPLITS for kind in "xy"]
    arrays, held = npz_arrays(path, names, argument="path", remedy=_SAVE)
    if "x_train" not in arrays:
        found = f"{path} with {', '.join(held) or 'no arrays'}"
        raise fail("path", "hold an array x_train", found, _SAVE)
    splits = {}
    for split in SPLITS:
        x, y = arrays.pop(f"x_{split}", None), arrays.pop(f"y_{split}", None)
        if x is not None:
            states = _to_states(f"x_{split} in {path}", x)
            label = None if y is None else _to_labels(f"y_{split} in {path}", y, len(x))
            splits[split] = states, label
        elif y is not None:
            remedy = f"add x_{split} to the file"
            raise fail(f"y_{split} in {path}", f"come with x_{split}", "labels alone", remedy)
    return splits


def _to_states(name: str, array: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """States [N, *dims], which must be integers from 0 on."""
    if array.dtype.kind not in "iu":
        raise fail(name, "hold integers, one for each category", array.dtype, _CONVERT)
    if array.ndim < 2:
        remedy = "reshape it, such as x[:, None] for one position an example"
        raise fail(name, "have shape [N, *dims]", list(array.shape), remedy)
    if array.size == 0:
        raise fail(name, "hold at least one example", list(array.shape), "add examples")
    if array.min() < 0:
        raise fail(name, "hold integers from 0 on", array.min(), _CONVERT)
    return array


def _to_labels(name: str, array: NDArray[Any], count: int) -> Labels:
    """Class labels [count], numbers or names."""
    if array.dtype.kind not in "iuU":
        raise fail(name, "hold integers or texts", array.dtype, "number the classes, or name them")
    if array.shape != (count,):
        remedy = "give one label per example, or leave the array out"
        raise fail(name, f"have shape [{count}]", list(array.shape), remedy)
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def _examples(split: str, x: NDArray[np.integer[Any]], label: Tensor | None, num_states: int) -> Examples:
    """States as the smallest integers that hold them; checked first, so that none wraps round."""
    if x.max() >= num_states:
        rule = f"hold states in 0..{num_states - 1}"
        remedy = "raise num_states or clean the data"
        raise fail(f"split {split!r}", rule, x.max(), remedy)
    dtype = str(smallest_dtype(num_states)).removeprefix("torch.")
    return Examples(torch.from_numpy(np.ascontiguousarray(x.astype(dtype))), label)


def _dims(x: NDArray[np.integer[Any]]) -> tuple[int, ...]:
    return tuple(x.shape[1:])
