"""Arrays of splits in an `.npz` file: x_train, y_train, x_val and so on, by their names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from scud.data.splits import SPLITS, array_of
from scud.errors import fail
from scud.files.arrays import npz_arrays


class SplitArrays(NamedTuple):
    """The arrays of a split.

    Attributes:
        x: examples.
        x_name: what messages call them.
        y: their labels, or None.
        y_name: what messages call these.
    """

    x: NDArray[Any]
    x_name: str
    y: NDArray[Any] | None
    y_name: str


def read_split_arrays(
    path: Path, remedy: str
) -> tuple[dict[str, SplitArrays], list[str], list[str]]:
    """The arrays of each split of an `.npz` file, lines about others and other names, and the names of all arrays.

    There may be no splits at all.

    Args:
        path: the file.
        remedy: what to do where it cannot be read.

    Raises:
        UserError: as in `npz_arrays`; two arrays are the same of a split, or labels come without examples.
    """
    _, held = npz_arrays(path, [], argument="path", remedy=remedy)
    roles = _roles(path, held)
    arrays, _ = npz_arrays(path, list(roles.values()), argument="path", remedy=remedy)
    splits: dict[str, SplitArrays] = {}
    for split in SPLITS:
        x, y = roles.get(("x", split)), roles.get(("y", split))
        if x is not None:
            label = None if y is None else arrays.pop(y)
            splits[split] = SplitArrays(arrays.pop(x), f"{x} in {path}", label, f"{y} in {path}")
        elif y is not None:
            rule = f"come with x_{split}"
            raise fail(f"{y} in {path}", rule, "labels alone", f"add x_{split} to the file")
    return splits, _report(roles, held), held


def _roles(path: Path, held: Sequence[str]) -> dict[tuple[str, str], str]:
    """The name of the array that is each x and y of a split; x_valid before any other name of the same."""
    roles: dict[tuple[str, str], str] = {}
    for name in held:
        role = array_of(name)
        if role is None or roles.get(role) == "_".join(role):
            continue
        if role in roles and name != "_".join(role):
            found = f"{roles[role]} and {name}"
            rule = f"hold one array {'_'.join(role)}"
            raise fail(str(path), rule, found, "leave out one of them, or give it another name")
        roles[role] = name
    return roles


def _report(roles: Mapping[tuple[str, str], str], held: Sequence[str]) -> list[str]:
    other = {"_".join(role): name for role, name in roles.items() if name != "_".join(role)}
    lines = [", ".join(f"read {name} as {role}" for role, name in other.items())] if other else []
    unused = [name for name in held if name not in roles.values()]
    return lines + ([f"left out of the arrays: {', '.join(unused)}"] if unused else [])
