"""Arrays to `.npz` files a part at a time, so that memory holds one part and not the whole."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scud.files.writing import writing


def write_npz(
    path: Path, parts: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike
) -> None:
    """Write one array, called x, as `numpy.savez_compressed(path, x=...)` does.

    Args:
        path: the file.
        parts: the array's rows, some at a time.
        shape: of the whole array.
        dtype: of the file; parts are converted.

    Raises:
        UserError: the disk is full, or the place cannot be written to.
    """
    kind = np.dtype(dtype)
    header = {"descr": kind.str, "fortran_order": False, "shape": shape}
    with (
        writing(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(np.ascontiguousarray(part, dtype=kind).tobytes())
