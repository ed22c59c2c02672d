"""Arrays of categories of any meaning: integers [N, *dims], from files or from tensors.

A state is a number in 0..B-1. B is the largest state of the training split and 1 more, unless it
is given.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scud.data.arrays.modality import Arrays, check_num_states
from scud.data.arrays.read import as_examples, read_splits
from scud.data.dataset import Data
from scud.data.examples import Examples, check_examples, hold_out_examples, lines_of
from scud.data.files import check_share
from scud.data.labels import classes_line, number_labels
from scud.data.splits import SPLITS, added_line, split_for
from scud.errors import fail
from scud.files import absolute
from scud.files.memory import check_read

_STATE = 256
"""Bytes that a state takes at least, in marginals and the weights of a network."""


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
    path = absolute(Path(path))
    check_share(valid_share)
    if num_states is not None:
        check_num_states(num_states)
    arrays, report = read_splits(path)
    if "train" not in arrays:
        remedy = "add x_train to the file, or name a file of training examples as data.train"
        raise fail("path", "hold an array x_train", f"{path} with {', '.join(arrays)}", remedy)
    for split, file in (files or {}).items():
        if file is not None:
            parts, lines = read_splits(file)
            taken = split_for(split, parts, file)
            lines += added_line(split, taken, parts, replaced=split in arrays)
            arrays[split] = parts[taken]
            report += [f"{split} file: {line}" for line in lines]
    present = [split for split in SPLITS if split in arrays]
    names, labels = number_labels([arrays[split][1] for split in present])
    found = int(arrays["train"][0].max()) + 1
    modality = Arrays(
        max(found, 2) if num_states is None else num_states, _dims(arrays["train"][0])
    )
    remedy = "number the categories from 0 on, without gaps"
    size, what = _STATE * modality.num_states, f"{modality.num_states:,} of them"
    check_read("states", size, what, remedy)
    splits: dict[str, Examples] = {}
    for split, label in zip(present, labels, strict=True):
        x = arrays.pop(split)[0]
        tensor = None if label is None else torch.from_numpy(label)
        splits[split] = as_examples(split, x, tensor, modality.num_states)
    note = ""
    if "valid" not in splits:
        splits |= hold_out_examples(f"train of {path}", splits["train"], valid_share, "examples")
        note = ", held out of those for training"
    check_examples(splits, modality.num_states, modality.dims)
    report += [f"states 0..{modality.num_states - 1}", *classes_line(names)]
    for split, part in splits.items():
        report.append(f"{split}: {len(part):,} arrays{note if split == 'valid' else ''}")
    return Data(path.stem, splits, modality, names, lines_of(report))


def _dims(x: NDArray[np.integer[Any]]) -> tuple[int, ...]:
    return tuple(x.shape[1:])
