"""Files of images as they are published: `.npz` archives, CIFAR-10's binary version, MNIST's idx files, downsampled ImageNet.

Every reader returns the splits that it found, "train" certainly among them, as pixels [N, channels, height, width] and labels.
Nothing here unpickles and nothing is extracted to disk. Pixels are held at most twice while a file is read.
"""

import gzip
import re
import tarfile
import zlib
from math import isqrt, prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scud.data.splits import SPLITS
from scud.errors import UserError, fail
from scud.files.arrays import npz_arrays

_CIFAR_TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
_CIFAR_TEST = "test_batch.bin"
_CIFAR_PICKLES = [*(name.removesuffix(".bin") for name in _CIFAR_TRAIN), "test_batch"]
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_BATCH = 100_000 * _CIFAR_RECORD  # ten times what is published
_IDX_SPLITS = {"train": "train", "t10k": "test"}
_IMAGENET_TRAIN = re.compile(r"train_data_batch(_(\d+))?\.npz")
_IMAGENET_VALID = "val_data.npz"
_AGAIN = "download it again"
_SAVE = "write it again with np.savez_compressed(path, x_train=images), images being an array of np.uint8"
_DAMAGED_TAR = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


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


def refuse_pickle(path: Path) -> None:
    """Raise `UserError` if the file, or one in the folder, is a pickle, such as a batch of CIFAR-10's Python version."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    for file in files:
        if file.suffix in (".pkl", ".pickle") or file.name in _CIFAR_PICKLES:
            raise _pickled(file)
        if file.suffix == "":
            with file.open("rb") as stream:
                start = stream.read(2)
            if start in (
                b"\x80\2",
                b"\x80\3",
                b"\x80\4",
                b"\x80\5",
            ):  # how a pickle says its protocol
                raise _pickled(file)


def _pickled(file: Path) -> UserError:
    remedy = "use the binary version of CIFAR-10, cifar-10-binary.tar.gz, or save the arrays with np.savez_compressed"
    return fail("path", "name no pickle, because reading one can run code", file, remedy)


def is_cifar(folder: Path) -> bool:
    """Whether a folder holds CIFAR-10's binary version, or part of it."""
    return any((folder / name).is_file() for name in [*_CIFAR_TRAIN, _CIFAR_TEST])


def read_cifar(path: Path) -> dict[str, Pixels]:
    """CIFAR-10's binary version: the folder, or cifar-10-binary.tar.gz. Labels are 0..9.

    A record is a byte of label and 3 x 1024 bytes: the red, the green and the blue plane, row by row.

    Raises:
        UserError: a batch is missing or damaged, or the archive holds the Python version.
    """
    names = [*_CIFAR_TRAIN, _CIFAR_TEST]
    if path.is_dir():
        contents = {
            name: np.fromfile(path / name, np.uint8) for name in names if (path / name).is_file()
        }
    else:
        contents = _read_tar(path, names)
    missing = [name for name in _CIFAR_TRAIN if name not in contents]
    if missing:
        raise fail(
            str(path),
            f"hold {_CIFAR_TRAIN[0]} to {_CIFAR_TRAIN[-1]}",
            f"no {', no '.join(missing)}",
            _AGAIN,
        )
    batches = {
        name: _cifar_records(f"{name} in {path}", content) for name, content in contents.items()
    }
    splits = {"train": [batches[name] for name in _CIFAR_TRAIN]}
    if _CIFAR_TEST in batches:
        splits["test"] = [batches[_CIFAR_TEST]]
    return {split: _join_cifar(parts) for split, parts in splits.items()}


def _read_tar(path: Path, names: list[str]) -> dict[str, NDArray[np.uint8]]:
    """Contents of the regular files of these names, in whatever folder of the archive."""
    contents, others = dict[str, NDArray[np.uint8]](), list[str]()
    try:
        with tarfile.open(path, "r:" if path.suffix.lower() == ".tar" else "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and member.isreg() and not member.issparse():
                    if member.size > _CIFAR_BATCH:
                        raise fail(
                            f"{name} in {path}",
                            f"hold at most {_CIFAR_BATCH} bytes",
                            member.size,
                            _AGAIN,
                        )
                    stream = archive.extractfile(member)
                    assert stream is not None, "regular files have contents"
                    contents[name] = np.frombuffer(stream.read(), np.uint8)
                others.append(name)
    except UserError:
        raise
    except _DAMAGED_TAR as error:
        raise fail("path", "be an undamaged .tar archive", f"{path} ({error})", _AGAIN) from error
    if not contents and set(_CIFAR_PICKLES) & set(others):
        raise _pickled(path)
    return contents


def _cifar_records(name: str, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Records [N, 3073] of a batch."""
    if content.size == 0 or content.size % _CIFAR_RECORD:
        raise fail(name, f"hold records of {_CIFAR_RECORD} bytes", f"{content.size} bytes", _AGAIN)
    records = content.reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise fail(
            name,
            "hold labels in 0..9",
            records[:, 0].max(),
            f"{_AGAIN}; other sets have other records",
        )
    return records


def _join_cifar(records: list[NDArray[np.uint8]]) -> Pixels:
    label = np.concatenate([part[:, 0] for part in records]).astype(np.int64)
    return Pixels(np.concatenate([part[:, 1:] for part in records]).reshape(-1, 3, 32, 32), label)


def is_idx(folder: Path) -> bool:
    """Whether a folder holds MNIST's files of images, or another set in their form."""
    return any(
        _idx_file(folder, f"{prefix}-images-idx3-ubyte") is not None for prefix in _IDX_SPLITS
    )


def read_idx(folder: Path) -> dict[str, Pixels]:
    """MNIST, Fashion-MNIST and others in their form: train-images-idx3-ubyte and t10k-images-idx3-ubyte, the test split.

    Labels, in files such as train-labels-idx1-ubyte, may be left out. Each file is as it is or gzipped (.gz).

    Raises:
        UserError: the training images are missing, or a file is damaged or of another kind.
    """
    splits: dict[str, Pixels] = {}
    for prefix, split in _IDX_SPLITS.items():
        path, labels = (
            _idx_file(folder, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
        )
        if path is None:
            continue
        pixels = _read_idx(path, 3)[:, None]
        label = None if labels is None else _read_idx(labels, 1).astype(np.int64)
        if label is not None and len(label) != len(pixels):
            raise fail(
                str(labels), f"hold a label for each of {len(pixels)} images", len(label), _AGAIN
            )
        splits[split] = Pixels(pixels, label)
    if "train" not in splits:
        raise fail(
            str(folder),
            "hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz",
            "neither",
            "add it",
        )
    return splits


def _idx_file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """The array of an idx file: bytes 0, 0, 8 (unsigned bytes) and `ndim`, the sizes as big-endian uint32, then the values."""
    magic, header = bytes([0, 0, 8, ndim]), 4 + 4 * ndim
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            sizes = [int(size) for size in np.frombuffer(start[4:].ljust(4 * ndim, b"\0"), ">u4")]
            # No more than it says, nor than gzip can make of so many bytes; an array that can be written to.
            most = min(prod(sizes) + 1, 1100 * path.stat().st_size)
            content = bytearray(file.read(most) if start[:4] == magic else b"")
    except (OSError, EOFError, MemoryError, OverflowError, zlib.error) as error:
        raise fail(str(path), "be an undamaged file", f"an error ({error})", _AGAIN) from error
    if start[:4] != magic or len(start) < header:
        rule = f"be an idx file of bytes in {ndim} dimensions, which starts {magic.hex(' ')}"
        raise fail(
            str(path),
            rule,
            start[:4].hex(" ") or "an empty file",
            f"{_AGAIN}; a gzipped file ends in .gz",
        )
    if len(content) != prod(sizes):
        rule = f"hold {header} + {' x '.join(map(str, sizes))} bytes, as it says"
        found = f"{header + len(content)} bytes" if len(content) < prod(sizes) else "more bytes"
        raise fail(str(path), rule, found, _AGAIN)
    return np.frombuffer(content, np.uint8).reshape(sizes)


def is_imagenet(folder: Path) -> bool:
    """Whether a folder holds downsampled ImageNet's archives."""
    return (folder / _IMAGENET_VALID).is_file() or bool(_imagenet_batches(folder))


def read_imagenet(folder: Path) -> dict[str, Pixels]:
    """Downsampled ImageNet: train_data_batch_1.npz and so on, and val_data.npz, the validation split; labels become 0..999.

    Raises:
        UserError: there are no training images, or an archive is damaged or of another kind.
    """
    batches = _imagenet_batches(folder)
    if not batches:
        raise fail(
            str(folder), "hold train_data_batch_1.npz", "no such file", "put it beside the others"
        )
    splits = {"train": _join_imagenet(batches)}
    if (folder / _IMAGENET_VALID).is_file():
        splits["valid"] = _join_imagenet([folder / _IMAGENET_VALID])
    return splits


def _imagenet_batches(folder: Path) -> list[Path]:
    found = [
        (int(match[2] or 0), file)
        for file in folder.iterdir()
        if (match := _IMAGENET_TRAIN.fullmatch(file.name))
    ]
    return [file for _, file in sorted(found)]


def _join_imagenet(paths: list[Path]) -> Pixels:
    """The images of archives of `data`, uint8 [N, 3 size size] in planes, and `labels` [N], 1..1000."""
    labels = [_imagenet_labels(path) for path in paths]
    values, start = 0, 0
    pixels = np.empty((0, 0), np.uint8)
    for path, label in zip(paths, labels, strict=True):
        name, data = f"data in {path}", _read_npz(path, ["data"])[0]["data"]
        size = isqrt(data.shape[1] // 3) if data.ndim == 2 else 0
        if data.dtype != np.uint8 or size == 0 or data.shape != (len(label), 3 * size * size):
            rule, found = (
                f"be uint8 [{len(label)}, 3 size size]",
                f"{data.dtype} {list(data.shape)}",
            )
            raise fail(name, rule, found, _AGAIN)
        if start == 0:
            values = data.shape[1]
            pixels = np.empty((sum(map(len, labels)), values), np.uint8)
        if data.shape[1] != values:
            raise fail(
                name,
                f"have {values} values an image",
                data.shape[1],
                "keep each size in its own folder",
            )
        pixels[start : start + len(label)] = data
        start += len(label)
    size = isqrt(values // 3)
    return Pixels(pixels.reshape(-1, 3, size, size), np.concatenate(labels))


def _imagenet_labels(path: Path) -> NDArray[np.int64]:
    """Labels [N], 0..999."""
    arrays, found = _read_npz(path, ["labels"])
    if not {"data", "labels"}.issubset(found):
        raise fail(
            str(path), "hold arrays data and labels", ", ".join(found) or "no arrays", _AGAIN
        )
    label = _to_label(f"labels in {path}", arrays["labels"], arrays["labels"].size)
    if label.size == 0:
        raise fail(f"labels in {path}", "hold at least one label", "none", _AGAIN)
    low, high = label.min(), label.max()
    if low < 1 or high > 1000:
        raise fail(f"labels in {path}", "lie in 1..1000", low if low < 1 else high, _AGAIN)
    return label - 1


def read_npz(path: Path) -> dict[str, Pixels]:
    """An archive of `x_train` and, if there are any, `x_valid` and `x_test`, with labels `y_train`, …; or one of ImageNet's.

    Raises:
        UserError: the archive is damaged, or an array is missing or not as it should be.
    """
    arrays, found = _read_npz(path, [f"{kind}_{split}" for split in SPLITS for kind in "xy"])
    if "x_train" not in arrays:
        if {"data", "labels"}.issubset(found):
            return {"train": _join_imagenet([path])}
        raise fail(
            "path", "hold an array x_train", f"{path} with {', '.join(found) or 'no arrays'}", _SAVE
        )
    splits: dict[str, Pixels] = {}
    for split in SPLITS:
        x, y = arrays.pop(f"x_{split}", None), arrays.pop(f"y_{split}", None)
        if x is not None:
            pixels = _to_pixels(f"x_{split} in {path}", x)
            label = None if y is None else _to_labels(f"y_{split} in {path}", y, len(pixels))
            splits[split] = Pixels(pixels, label)
        elif y is not None:
            raise fail(
                f"y_{split} in {path}",
                f"come with x_{split}",
                "labels alone",
                f"add x_{split} to the file",
            )
    return splits


def read_samples(path: Path, dims: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] of generated images: the array `x` of an `.npz` file.

    Raises:
        UserError: no such file or array, or images that are not of shape dims (channels, height, width).
    """
    if not path.is_file():
        raise fail(
            "samples", "name a file that exists", path, "check the spelling, or give the full path"
        )
    arrays, found = _read_npz(path, ["x"])
    if "x" not in arrays:
        remedy = "give what scud sample wrote, or np.savez_compressed(path, x=images)"
        raise fail(
            "samples", "hold an array x", f"{path} with {', '.join(found) or 'no arrays'}", remedy
        )
    pixels = _to_pixels(f"x in {path}", arrays["x"])
    if pixels.shape[1:] != dims:
        rule = "hold images of the model's {} channel(s), height {} and width {}".format(*dims)
        raise fail(
            f"x in {path}",
            rule,
            "{}, {} and {}".format(*pixels.shape[1:]),
            "give samples of this model",
        )
    return pixels


def _read_npz(path: Path, names: list[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Those of the named arrays that an `.npz` file has, and the names of all of them."""
    return npz_arrays(path, names, argument="path", remedy=_SAVE)


def _check_integers(name: str, array: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """`array`, which must hold integers."""
    if array.dtype.kind not in "iu":
        remedy = (
            "convert it with .astype(np.uint8), after multiplying by 255 if it holds images in 0..1"
        )
        raise fail(name, "hold integers", array.dtype, remedy)
    return array


def _to_label(name: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Class labels [count] that are numbers."""
    label = _check_integers(name, array)
    _check_label_shape(name, label, count)
    return label.astype(np.int64)


def _to_labels(name: str, array: NDArray[Any], count: int) -> NDArray[np.int64] | NDArray[np.str_]:
    """Class labels [count], numbers or names."""
    if array.dtype.kind != "U":
        return _to_label(name, array, count)
    _check_label_shape(name, array, count)
    return array


def _check_label_shape(name: str, label: NDArray[Any], count: int) -> None:
    if label.shape != (count,):
        remedy = "give one label per image, or leave the array out"
        raise fail(name, f"have shape [{count}]", list(label.shape), remedy)


def _to_pixels(name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels [N, channels, height, width] from an array as users have them."""
    images = _check_integers(name, array)
    if images.ndim not in (3, 4):
        rule = "have shape [N, height, width] or [N, height, width, channels]"
        raise fail(name, rule, list(images.shape), "reshape it")
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] not in (1, 3):
        remedy = "put the channels last, and drop any but grey or red, green and blue"
        raise fail(name, "have 1 or 3 channels", list(images.shape), remedy)
    if images.size == 0:
        raise fail(
            name,
            "hold at least one image",
            list(images.shape),
            "add images, or leave the array out",
        )
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        raise fail(name, "hold values in 0..255", low if low < 0 else high, "rescale it to 0..255")
    return np.ascontiguousarray(np.moveaxis(images.astype(np.uint8, copy=False), -1, 1))
