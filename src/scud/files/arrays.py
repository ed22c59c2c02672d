"""Arrays in files: nothing here unpickles, and a file that cannot be read is a `UserError`."""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
)
"""What is raised for damaged files and those of other kinds: encrypted, of unknown compression, with a header of no sense."""


def npz_arrays(
    path: Path, names: Collection[str] | None = None, *, argument: str, remedy: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Those of the named arrays that an `.npz` file has, all of them if names is None, and the names of all that it has.

    Args:
        path: the file.
        names: the arrays to read; others stay on disk.
        argument: what to call the file in messages.
        remedy: what to do where it cannot be read.

    Raises:
        UserError: it is no `.npz` file, damaged, or an array that is asked for is pickled.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not an .npz file, or cut short")
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            wanted = found if names is None else [name for name in names if name in found]
            return {name: np.asarray(archive[name]) for name in wanted}, found
    except UNREADABLE as error:
        rule = "be an undamaged .npz file without pickled objects"
        raise fail(argument, rule, f"{path} ({error})", remedy) from error


def npy_array(path: Path, *, argument: str, remedy: str) -> NDArray[Any]:
    """The array of a `.npy` file; arguments and errors as in `npz_arrays`."""
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except UNREADABLE as error:
        rule = "be an undamaged .npy file without pickled objects"
        raise fail(argument, rule, f"{path} ({error})", remedy) from error


def safetensors_arrays(path: Path, *, argument: str, remedy: str) -> dict[str, NDArray[np.float32]]:
    """The arrays of a `.safetensors` file, as float32; arguments and errors as in `npz_arrays`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: value.float().numpy() for name, value in load_file(path).items()}
    except (*UNREADABLE, SafetensorError) as error:
        raise fail(
            argument, "be an undamaged .safetensors file", f"{path} ({error})", remedy
        ) from error
