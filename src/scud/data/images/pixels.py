"""What readers of images give, and what they have in common: a look into a folder, and what was left out of it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scud.errors import UserError, fail
from scud.files import is_file
from scud.files.opening import unreadable

_CIFAR_PICKLES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
_PROTOCOLS = (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")
"""How a pickle begins: it says its protocol."""


class Pixels(NamedTuple):
    """Images of a split.

    Attributes:
        pixels: [N, channels, height, width].
        label: class labels [N], numbers or names, or None.
        names: of the files that they are from, [N], or None.
    """

    pixels: NDArray[np.uint8]
    label: NDArray[np.int64] | NDArray[np.str_] | None
    names: tuple[str, ...] | None = None


Read = tuple[dict[str, Pixels], list[str]]
"""The images of each split, and what to report of reading them, a line each."""


def entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, by name; raises `UserError` for a folder that cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error


def left_out(folder: Path, used: Collection[Path], known: Collection[str] = ()) -> list[str]:
    """A line about what is in a folder beside the files that were read and those that come with them, if there is any."""
    others = [path for path in entries(folder) if path not in used and path.name not in known]
    return listed(f"left out {len(others):,} others in {folder.name}", others)


def listed(what: str, others: Sequence[object]) -> list[str]:
    """A line about some things, with the first of them; none where there are none."""
    return [f"{what}, such as {others[0]}"] if others else []


def refuse_pickle(path: Path) -> None:
    """Raise `UserError` if the file, or one in the folder, is a pickle, such as a batch of CIFAR-10's Python version."""
    for file in [path] if is_file(path) else filter(_is_readable_file, entries(path)):
        if file.suffix in (".pkl", ".pickle") or file.name in _CIFAR_PICKLES:
            raise pickled(file)
        if file.suffix == "":
            try:
                with file.open("rb") as stream:
                    start = stream.read(2)
            except OSError as error:
                raise unreadable(file, error) from error
            if start in _PROTOCOLS:
                raise pickled(file)


def has_pickles(names: Collection[str]) -> bool:
    """Whether a batch of CIFAR-10's Python version is among the names of files."""
    return bool(set(_CIFAR_PICKLES) & set(names))


def pickled(file: Path) -> UserError:
    """The error of a pickle."""
    remedy = "use the binary version of CIFAR-10, cifar-10-binary.tar.gz, or save the arrays with np.savez_compressed"
    return fail("path", "name no pickle, because reading one can run code", file, remedy)


def _is_readable_file(path: Path) -> bool:
    """Whether a path in a folder is a plain file; a link that leads nowhere or round in a circle is none."""
    try:
        return path.is_file()
    except OSError:
        return False
