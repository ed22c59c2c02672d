"""Names of splits, and the one shuffle by which splits are made here: the same on every machine."""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail

SPLITS = ("train", "valid", "test")
"""Names of splits; a split's number is its place here."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "devel": "valid",
    "development": "valid",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
"""The split that a folder, a file, an array or a part of a data set is, by a word of its name in small letters."""

_SHUFFLE_SEED = 20250608

_SPLIT = "|".join(sorted(SPLIT_NAMES, key=len, reverse=True))
_X = "x|images?|imgs?|pictures?|pics?|pixels?|data|inputs?|arrays?|samples?|states?"
_Y = "y|labels?|targets?|class|classes"
_PLACE = re.compile(f"(?:{_X}|set|split)*({_SPLIT})(?:{_X}|set|split|folder)*[0-9]*")
_ARRAY = re.compile(f"(?:{_X}|({_Y}))?({_SPLIT})(?:set)?(?:{_X}|({_Y}))?")


def split_of(name: str) -> str | None:
    """The split that a folder or a part of a data set is by its name, such as Train, val, x-dev, testing_set or train2017.

    Capital letters and separators do not matter; None for a name that says more than the split.
    """
    match = _PLACE.fullmatch(_letters(name))
    return SPLIT_NAMES[match[1]] if match else None


def splits_in(name: str) -> set[str]:
    """The splits that the words of a name are, whatever other words there are: train in cifar10-train-0."""
    words = re.split(r"[\W\d_]+", name.lower())
    return {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}


def split_of_file(stem: str) -> str | None:
    """The split that a file is by its name without ending: that of its first word, or else the only one in it."""
    found = {split for split in [split_of(stem.split("-")[0])] if split} or splits_in(stem)
    return found.pop() if len(found) == 1 else None


def array_of(name: str) -> tuple[str, str] | None:
    """What an array is by its name, "x" (examples) or "y" (labels), and of which split: x_val, TrainX, test_labels."""
    match = _ARRAY.fullmatch(_letters(name))
    if match is None:
        return None
    return "y" if match[1] or match[3] else "x", SPLIT_NAMES[match[2]]


def split_for(split: str, parts: Collection[str], path: Path) -> str:
    """Which of the parts of a file is to be the split of that name: the one called so, or else that for training.

    Raises:
        UserError: it has neither.
    """
    for name in (split, "train"):
        if name in parts:
            return name
    rule = f"hold {' or '.join(dict.fromkeys((split, 'train')))}"
    raise fail(str(path), rule, ", ".join(parts), "name the parts so, or give another file")


def added_line(split: str, taken: str, parts: Collection[str], *, replaced: bool) -> list[str]:
    """Lines about a file named for a split: what it stands in for, which part of it was taken, and which were not."""
    others = [part for part in parts if part != taken]
    lines = [f"its {taken} part was taken, and not {', '.join(others)}"] if others else []
    return lines + ([f"it stands in for the {split} part of the training file"] if replaced else [])


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


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
