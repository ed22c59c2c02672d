"""Files of arrays: the states and labels of each split, checked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.examples import Examples, lines_of, smallest_dtype
from scud.data.labels import checked_labels
from scud.data.split_arrays import read_split_arrays
from scud.data.splits import added_line, split_for
from scud.errors import fail
from scud.files import absolute, check_file
from scud.files.arrays import npy_array

_SAVE = "write it with np.save(path, x), or np.savez_compressed(path, x_train=x), of integers"
_CONVERT = "number the categories from 0 on, and convert with .astype(np.int64)"

Labels = NDArray[np.int64] | NDArray[np.str_]
"""Class labels of examples [N], numbers or names."""

Splits = dict[str, tuple[NDArray[np.integer[Any]], Labels | None]]
"""States [N, *dims] and labels of each split."""


def read_examples(path: Path, split: str, num_states: int) -> Examples:
    """The examples of the split of a file, or of its training split, without labels.

    Raises:
        UserError: as in `load_arrays`.
    """
    path = absolute(path)
    parts, report = read_splits(path)
    taken = split_for(split, parts, path)
    report += added_line(split, taken, parts, replaced=False)
    examples = as_examples(str(path), parts[taken][0], None, num_states)
    return replace(examples, report=lines_of(report))


def read_splits(path: Path) -> tuple[Splits, list[str]]:
    """States [N, *dims] and labels [N] of each split in a file, and what to report of reading it."""
    check_file(path, "a .npy or .npz file of integers")
    if path.suffix.lower() == ".npy":
        array = npy_array(path, argument="path", remedy=_SAVE)
        return {"train": (_to_states(f"the array in {path}", array), None)}, []
    if path.suffix.lower() != ".npz":
        raise fail("path", "end in .npy or .npz", path, _SAVE)
    arrays, report, held = read_split_arrays(path, _SAVE)
    if not arrays:
        found = f"{path} with {', '.join(held) or 'no arrays'}"
        raise fail("path", "hold an array x_train", found, _SAVE)
    splits: Splits = {}
    for split, part in arrays.items():
        states = _to_states(part.x_name, part.x)
        label = None if part.y is None else checked_labels(part.y_name, part.y, len(states))
        splits[split] = states, label
    return splits, report


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


def as_examples(
    split: str, x: NDArray[np.integer[Any]], label: Tensor | None, num_states: int
) -> Examples:
    """States as the smallest integers that hold them; checked first, so that none wraps round."""
    if x.max() >= num_states:
        rule = f"hold states in 0..{num_states - 1}"
        remedy = "raise num_states or clean the data"
        raise fail(f"split {split!r}", rule, x.max(), remedy)
    dtype = str(smallest_dtype(num_states)).removeprefix("torch.")
    return Examples(torch.from_numpy(np.ascontiguousarray(x.astype(dtype))), label)
