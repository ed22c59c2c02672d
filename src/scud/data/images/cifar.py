"""CIFAR-10's binary version, as a folder or as cifar-10-binary.tar.gz. Nothing is extracted to disk."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from scud.data.images.pixels import Pixels, Read, has_pickles, left_out, listed, pickled
from scud.errors import UserError, fail
from scud.files import is_file
from scud.files.opening import unreadable

_TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
_TEST = "test_batch.bin"
_BATCHES = [*_TRAIN, _TEST]
_BESIDE = ("batches.meta.txt", "readme.html")
_RECORD = 1 + 3 * 32 * 32
_MOST = 100_000 * _RECORD  # ten times what is published
_AGAIN = "download it again"
_DAMAGED_TAR = (OSError, EOFError, ValueError, OverflowError, tarfile.TarError, zlib.error)


def is_cifar(folder: Path) -> bool:
    """Whether a folder holds CIFAR-10's binary version, or part of it."""
    return any(is_file(folder / name) for name in _BATCHES)


def read_cifar(path: Path) -> Read:
    """CIFAR-10's binary version: the folder, or cifar-10-binary.tar.gz. Labels are 0..9.

    A record is a byte of label and 3 x 1024 bytes: the red, the green and the blue plane, row by row.

    Raises:
        UserError: a batch is missing or damaged, or the archive holds the Python version.
    """
    if path.is_dir():
        files = [path / name for name in _BATCHES if is_file(path / name)]
        contents = {file.name: _read_batch(file) for file in files}
        report = left_out(path, files, _BESIDE)
    else:
        contents, report = _read_tar(path)
    missing = [name for name in _TRAIN if name not in contents]
    if missing:
        rule = f"hold {_TRAIN[0]} to {_TRAIN[-1]}"
        raise fail(str(path), rule, f"no {', no '.join(missing)}", _AGAIN)
    batches = {name: _records(f"{name} in {path}", content) for name, content in contents.items()}
    splits = {"train": [batches[name] for name in _TRAIN]}
    if _TEST in batches:
        splits["test"] = [batches[_TEST]]
    return {split: _join(parts) for split, parts in splits.items()}, report


def _read_batch(file: Path) -> NDArray[np.uint8]:
    try:
        if file.stat().st_size > _MOST:
            raise fail(str(file), f"hold at most {_MOST} bytes", file.stat().st_size, _AGAIN)
        return np.fromfile(file, np.uint8)
    except OSError as error:
        raise unreadable(file, error) from error


class _Bounded(io.RawIOBase):
    """What a file decompresses to, for tarfile: no more at once than a batch, nor in all than six.

    The headers of an archive say how much of it is to be read at once.
    """

    def __init__(self, stream: BinaryIO | gzip.GzipFile) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _MOST:
            raise ValueError(f"it asks for {size:,} bytes at once")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if offset > len(_BATCHES) * _MOST:
            raise ValueError(f"it holds more than {len(_BATCHES) * _MOST:,} bytes")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _read_tar(path: Path) -> tuple[dict[str, NDArray[np.uint8]], list[str]]:
    """Contents of the regular files called as batches, in whatever folder of the archive; and a line about others."""
    contents, others = dict[str, NDArray[np.uint8]](), list[str]()
    try:
        with path.open("rb") as raw:
            stream = raw if path.suffix.lower() == ".tar" else gzip.GzipFile(fileobj=raw)
            with tarfile.open(fileobj=_Bounded(stream), mode="r:") as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if name not in _BATCHES or not member.isreg() or member.issparse():
                        others += [] if member.isdir() or name in _BESIDE else [member.name]
                        continue
                    if name in contents:
                        raise fail(str(path), "hold each batch once", f"two of {name}", _AGAIN)
                    contents[name] = _member(path, archive, member)
    except UserError:
        raise
    except _DAMAGED_TAR as error:
        raise fail("path", "be an undamaged .tar archive", f"{path} ({error})", _AGAIN) from error
    if not contents and has_pickles([PurePosixPath(other).name for other in others]):
        raise pickled(path)
    return contents, listed(f"left out {len(others):,} others in {path.name}", others)


def _member(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> NDArray[np.uint8]:
    """The content of a batch in an archive."""
    name = PurePosixPath(member.name).name
    if member.size > _MOST:
        raise fail(f"{name} in {path}", f"hold at most {_MOST} bytes", member.size, _AGAIN)
    stream = archive.extractfile(member)
    assert stream is not None, "regular files have contents"
    return np.frombuffer(stream.read(), np.uint8)


def _records(name: str, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Records [N, 3073] of a batch."""
    if content.size == 0 or content.size % _RECORD:
        raise fail(name, f"hold records of {_RECORD} bytes", f"{content.size} bytes", _AGAIN)
    records = content.reshape(-1, _RECORD)
    if records[:, 0].max() > 9:
        remedy = f"{_AGAIN}; other sets have other records"
        raise fail(name, "hold labels in 0..9", records[:, 0].max(), remedy)
    return records


def _join(records: list[NDArray[np.uint8]]) -> Pixels:
    label = np.concatenate([part[:, 0] for part in records]).astype(np.int64)
    return Pixels(np.concatenate([part[:, 1:] for part in records]).reshape(-1, 3, 32, 32), label)
