"""Names of splits, and the one shuffle by which splits are made here: the same on every machine."""

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")
"""Names of splits; a split's number is its place here."""

SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
"""The split that a folder, a file or a part of a data set is, by its name."""

_SHUFFLE_SEED = 20250608


def fixed_shuffle(count: int) -> NDArray[np.int64]:
    """A permutation of 0..count-1.

    numpy keeps the raw stream of PCG64 for ever, but not what Generator makes of it.
    """
    return np.argsort(np.random.PCG64(_SHUFFLE_SEED).random_raw(count), kind="stable")


def hold_out(count: int, valid_share: float) -> dict[str, NDArray[np.int64]]:
    """Indices of `count` examples, two or more, divided into "train" and "valid".

    For validation, the last `valid_share` (at least one, and not all) of the fixed shuffle.
    """
    order = fixed_shuffle(count)
    valid = min(max(1, round(count * valid_share)), count - 1)
    return {"train": order[:-valid], "valid": order[-valid:]}
