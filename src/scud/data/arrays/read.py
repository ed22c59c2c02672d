"""Files of arrays: the states and labels of each split, checked."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.examples import Examples, smallest_dtype
from scud.data.splits import SPLITS
from scud.errors import fail
from scud.files.arrays import npy_array, npz_arrays

_SAVE = "write it with np.save(path, x), or np.savez_compressed(path, x_train=x), of integers"
_CONVERT = "number the categories from 0 on, and convert with .astype(np.int64)"

Labels = NDArray[np.int64] | NDArray[np.str_]
"""Class labels of examples [N], numbers or names."""


def read_examples(path: Path, split: str, num_states: int) -> Examples:
    """The examples of the split of a file, or of its training split, without labels.

    Raises:
        UserError: as in `load_arrays`.
    """
    parts = read_splits(path.resolve())
    states, _ = parts.get(split, parts["train"])
    return as_examples(str(path), states, None, num_states)


def read_splits(path: Path) -> dict[str, tuple[NDArray[np.integer[Any]], Labels | None]]:
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
