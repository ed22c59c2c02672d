"""Arrays in files: nothing here unpickles, and a file that cannot be read is a `UserError`.

What a file says of its arrays, their types and shapes, is compared with its size and with the memory before any of them is read.
"""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scud.errors import UserError, fail
from scud.files.memory import check_ratio, check_read
from scud.files.opening import check_file

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    tokenize.TokenError,
)
"""What is raised for damaged files and those of other kinds: encrypted, of unknown compression, with a header of no sense."""

_SMALLER = "give fewer or smaller arrays, in several files if need be"
_LOOSE = "write it without compression, with np.savez, if these are really your arrays"


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
        UserError: it is no `.npz` file, damaged, or an array that is asked for is pickled, or larger than the memory allows.
    """
    check_file(path, "an .npz file", argument)
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("not an .npz file, or cut short")
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            wanted = [name for name in (members if names is None else names) if name in members]
            total = sum(_checked_size(archive, members[name]) for name in wanted)
            packed = sum(members[name].compress_size for name in wanted)
            what = f"{path} with {', '.join(wanted)}"
            check_ratio(str(path), total, packed, _LOOSE)
            check_read(argument, total, what, _SMALLER)
            return {name: _member(archive, members[name]) for name in wanted}, list(members)
    except UserError:
        raise
    except UNREADABLE as error:
        rule = "be an undamaged .npz file without pickled objects"
        raise fail(argument, rule, f"{path} ({error})", remedy) from error


def npy_array(path: Path, *, argument: str, remedy: str) -> NDArray[Any]:
    """The array of a `.npy` file; arguments and errors as in `npz_arrays`."""
    check_file(path, "a .npy file", argument)
    try:
        with path.open("rb") as file:
            size = _array_size(file, path.stat().st_size)
            check_read(argument, size, str(path), _SMALLER)
            file.seek(0)
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except UserError:
        raise
    except UNREADABLE as error:
        rule = "be an undamaged .npy file without pickled objects"
        raise fail(argument, rule, f"{path} ({error})", remedy) from error


def safetensors_arrays(path: Path, *, argument: str, remedy: str) -> dict[str, NDArray[np.float32]]:
    """The arrays of a `.safetensors` file, as float32; arguments and errors as in `npz_arrays`."""
    from safetensors import SafetensorError, safe_open

    check_file(path, "a .safetensors file", argument)
    try:
        with safe_open(path, framework="pt") as file:  # which compares the header with the size
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
            check_read(argument, 4 * sum(map(prod, shapes)), str(path), _SMALLER)
            return {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
    except UserError:
        raise
    except (*UNREADABLE, SafetensorError) as error:
        raise fail(
            argument, "be an undamaged .safetensors file", f"{path} ({error})", remedy
        ) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise zipfile.BadZipFile(f"it holds {name} twice")
        members[name] = member
    return members


def _checked_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of the array in a member, which is read no further than its header."""
    with archive.open(member) as file:
        return _array_size(file, member.file_size)


def _array_size(file: IO[bytes], size: int) -> int:
    """Bytes of an array, by the header with which a file of this size begins.

    Raises:
        ValueError: the header makes no sense, announces pickled objects, or is not of a file of this size.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"its format {version[0]}.{version[1]} is for arrays of named fields")
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if dtype.itemsize == 0 or any(type(extent) is not int or extent < 0 for extent in shape):
        raise ValueError(f"no array is {dtype} {list(shape)}")
    taken = prod(shape) * dtype.itemsize
    if file.tell() + taken != size:
        raise ValueError(f"{dtype} {list(shape)} takes {taken} bytes, and it has {size} in all")
    return taken


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array in a member, read to its end so that its checksum is compared."""
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{member.filename} is longer than it says")
        return array
