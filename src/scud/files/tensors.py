"""Tensors in files of safetensors, with a checksum: what is damaged is named, and no size is believed before it is checked.

A file is eight bytes that say how long its header is, the header (JSON: the type, the shape and the place of each tensor, and
texts called metadata), and the numbers. The checksum, one of these texts, is of the whole file, with zeros in its own place.
Files without metadata, as version 0.1.0 wrote them, have none.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save as serialized
from torch import Tensor

from scud.errors import UserError, shown
from scud.files.opening import check_file, unreadable
from scud.files.structured import parse_json
from scud.files.writing import writing

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""The types of numbers by the names that headers give them."""

MOST_HEADER = 64 << 20
"""Bytes that a header may have: names, shapes, and a vocabulary perhaps."""

MOST_AXES = 64
"""Axes that a tensor may have."""

_LARGEST = 1 << 62
_CHECKSUM = "checksum"
_NONE = "0" * 64
_METADATA = "__metadata__"
_PIECE = 1 << 22


class UnsoundError(UserError):
    """A file is no sound file of tensors; the message says why, and nothing else."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its type, its shape, and where its bytes begin and end among the numbers."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """An open file of tensors, whose header has been checked.

    Attributes:
        metadata: texts by name.
        tensors: what there is, by name.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._header = _header_of(file, size)
        self._numbers = size - len(self._header)
        given = _parsed(self._header[8:])
        self.metadata = _metadata_of(given.pop(_METADATA, None))
        self.tensors = {name: _stored(name, entry) for name, entry in given.items()}
        _check_layout(list(self.tensors.values()), self._numbers)

    @property
    def has_checksum(self) -> bool:
        """Whether there is a checksum, which `load` and `check` compare."""
        return _CHECKSUM in self.metadata

    def load(self) -> dict[str, Tensor]:
        """All tensors; raises `UnsoundError` where the file is not what was written."""
        content = bytearray(self._numbers)
        view, at = memoryview(content), 0
        for piece in self._pieces():
            view[at : at + len(piece)] = piece
            at += len(piece)
        return {name: _tensor(stored, content) for name, stored in self.tensors.items()}

    def check(self) -> None:
        """Raise `UnsoundError` where the file is not what was written."""
        for _ in self._pieces():
            pass

    def _pieces(self) -> Iterator[bytes]:
        """The numbers, after the last of which the checksum is compared."""
        found = self.metadata.get(_CHECKSUM)
        digest = _digest(self._header.replace(_entry(found), _entry(_NONE), 1) if found else b"")
        self._file.seek(len(self._header))
        left = self._numbers
        while left:
            piece = self._file.read(min(left, _PIECE))
            if not piece:
                raise UnsoundError("it was cut short while it was read")
            left -= len(piece)
            digest.update(piece)
            yield piece
        if found is not None and digest.hexdigest() != found:
            raise UnsoundError("its checksum differs")


@contextmanager
def reading(path: Path, argument: str = "path") -> Iterator[TensorFile]:
    """A file of tensors, open: another one that takes its name meanwhile changes nothing.

    Raises:
        UserError: it is missing, no plain file, or cannot be read.
        UnsoundError: its header is not as it should be.
    """
    check_file(path, "a .safetensors file", argument)
    try:
        with path.open("rb") as file:
            yield TensorFile(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise unreadable(path, error, argument) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts, with a checksum; errors as in `scud.files.writing`."""
    with writing(path) as file:
        write_into(file, tensors, metadata)


def write_into(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """As `write_tensors`, into an open file."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    content = memoryview(serialized(plain))
    start = 8 + int.from_bytes(content[:8], "little")
    # The header is written again, since safetensors puts metadata in another order each time.
    entries = {_METADATA: {**metadata, _CHECKSUM: _NONE}, **json.loads(bytes(content[8:start]))}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    digest = _digest(header)
    digest.update(content[start:])
    file.write(header.replace(_entry(_NONE), _entry(digest.hexdigest()), 1))
    file.write(content[start:])


def _digest(begin: bytes) -> "hashlib.blake2b":
    return hashlib.blake2b(begin, digest_size=len(_NONE) // 2)


def _entry(checksum: str) -> bytes:
    """The checksum as it stands in a header: quotes within texts have a backslash before them, so that no text looks like it."""
    return f'"{_CHECKSUM}":"{checksum}"'.encode()


def _header_of(file: BinaryIO, size: int) -> bytes:
    """The header, with the eight bytes before it."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise UnsoundError("it is cut short")
    if length > MOST_HEADER:
        raise UnsoundError(f"its header would have {length:,} bytes")
    text = file.read(length)
    if len(text) < length:
        raise UnsoundError("it is cut short")
    return start + text


def _parsed(header: bytes) -> dict[str, Any]:
    try:
        return parse_json(header.decode(), "its header", "write it again")
    except (UnicodeDecodeError, UserError) as error:
        raise UnsoundError("its header is no JSON") from error


def _metadata_of(given: Any) -> dict[str, str]:
    """The texts of a header; files of version 0.1.0 have none."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise UnsoundError("its metadata are no texts")
    checksum = given.get(_CHECKSUM, "")
    if len(checksum) != len(_NONE) or not checksum.isascii():
        raise UnsoundError("its checksum is missing")
    return given


def _stored(name: str, entry: Any) -> Stored:
    """An entry of a header, whose bytes are as many as its shape takes."""
    what = f"the entry of {shown(name)} in its header is wrong"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnsoundError(what)
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES or not _sizes(shape) or not _sizes(place):
        raise UnsoundError(what)
    if len(place) != 2 or place[1] - place[0] != math.prod(shape) * DTYPES[kind].itemsize:
        raise UnsoundError(what)
    return Stored(DTYPES[kind], tuple(shape), *place)


def _sizes(value: Any) -> bool:
    """Whether a value is a short list of whole numbers that may be sizes."""
    if not isinstance(value, list) or len(value) > MOST_AXES:
        return False
    right = all(type(size) is int and 0 <= size < _LARGEST for size in value)
    return right and math.prod(max(size, 1) for size in value) < _LARGEST


def _check_layout(tensors: Sequence[Stored], size: int) -> None:
    """Raise `UnsoundError` unless tensors fill so many bytes, one after the other."""
    end = 0
    for stored in sorted(tensors, key=lambda stored: (stored.begin, stored.end)):
        if stored.begin != end:
            raise UnsoundError("its tensors overlap, or leave gaps")
        end = stored.end
    if end != size:
        raise UnsoundError(f"it holds {size:,} bytes of numbers in place of {end:,}")


def _tensor(stored: Stored, content: bytearray) -> Tensor:
    if stored.begin == stored.end:
        return torch.empty(stored.shape, dtype=stored.dtype)
    begin, count = stored.begin, math.prod(stored.shape)
    if begin % stored.dtype.itemsize:  # PyTorch reads numbers at multiples of their size
        content, begin = content[stored.begin : stored.end], 0
    stated = torch.uint8 if stored.dtype == torch.bool else stored.dtype
    flat = torch.frombuffer(content, dtype=stated, count=count, offset=begin)
    return (flat.ne(0) if stored.dtype == torch.bool else flat).reshape(stored.shape)
