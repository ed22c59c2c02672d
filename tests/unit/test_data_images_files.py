"""Published files of images: CIFAR-10's binary version, idx files, downsampled ImageNet; and pickles, which are refused."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from scud.data import Data, Examples, load_images
from scud.data.images.cifar import read_cifar
from scud.data.images.idx import read_idx
from scud.data.images.imagenet import read_imagenet
from scud.data.images.npz import read_npz
from scud.data.images.pixels import Read
from scud.errors import UserError
from tests.unit.image_files import (
    CIFAR_BATCHES,
    Pixels,
    random_pixels,
    write_cifar,
    write_idx,
    write_imagenet,
)


def held(source: Data, split: str) -> list[tuple[bytes, int | None]]:
    """Pixels (channels last) and label of each image, in order; labels are numbers, which are their names."""
    examples = source.split(split)
    assert isinstance(examples, Examples)
    names = [int(name) for name in source.label_names]
    labels = (
        [None] * len(examples)
        if examples.label is None
        else [names[label] for label in examples.label.tolist()]
    )
    assert examples.label is None or examples.label.dtype == torch.int64
    return [
        (x.permute(1, 2, 0).numpy().tobytes(), label)
        for x, label in zip(examples.x, labels, strict=True)
    ]


def given(pixels: Pixels, labels: list[int]) -> list[tuple[bytes, int | None]]:
    return [(image.tobytes(), label) for image, label in zip(pixels, labels, strict=True)]


# CIFAR-10


def pack(folder: Path, path: Path, name: str = "cifar-10-batches-bin") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, name)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_has_its_images_labels_and_test_set(tmp_path: Path, packed: bool) -> None:
    batches = write_cifar(tmp_path / "cifar", each=8)
    (tmp_path / "cifar" / "batches.meta.txt").write_text("airplane\nautomobile\n")
    path = (
        pack(tmp_path / "cifar", tmp_path / "cifar-10-binary.tar.gz")
        if packed
        else tmp_path / "cifar"
    )
    source = load_images(path, 256)
    assert source.name == ("cifar-10-binary" if packed else "cifar")
    assert source.dims == (3, 32, 32)
    assert held(source, "test") == given(*batches["test_batch.bin"])
    expected = [image for name in CIFAR_BATCHES[:5] for image in given(*batches[name])]
    assert sorted(held(source, "train") + held(source, "valid")) == sorted(expected)
    assert len(source.split("valid")) == 2


def test_cifar_may_lack_the_test_set_but_no_training_batch(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    assert list(load_images(tmp_path, 256).splits) == ["train", "valid"]
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(
        UserError,
        match=r"hold data_batch_1.bin to data_batch_5.bin, got no data_batch_3.bin; download",
    ):
        load_images(tmp_path, 256)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda content: content[:-1],
            "hold records of 3073 bytes, got 6145 bytes; download it again",
        ),
        (lambda content: content + b"\0", "hold records of 3073 bytes, got 6147 bytes"),
        (lambda _: b"", "hold records of 3073 bytes, got 0 bytes"),
        (lambda content: b"\x0a" + content[1:], r"hold labels in 0\.\.9, got 10"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_batch_is_named(
    tmp_path: Path, packed: bool, damage: Callable[[bytes], bytes], message: str
) -> None:
    folder = tmp_path / "cifar"
    write_cifar(folder)
    (folder / "data_batch_4.bin").write_bytes(damage((folder / "data_batch_4.bin").read_bytes()))
    path = pack(folder, tmp_path / "cifar.tar.gz") if packed else folder
    with pytest.raises(UserError, match=f"data_batch_4.bin in {path} must {message}"):
        load_images(path, 256)


def test_an_archive_is_read_without_writing_or_following_what_it_names(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in CIFAR_BATCHES[1:]:
            archive.add(tmp_path / "cifar" / name, f"../../{name}")
        link = tarfile.TarInfo("data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "cifar" / "data_batch_1.bin")
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"got no data_batch_1\.bin"):
        load_images(path, 256)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent.parent / "data_batch_2.bin").exists()


@pytest.mark.parametrize("kind", ["cut short", "no archive"])
def test_a_damaged_archive_is_a_mistake(tmp_path: Path, kind: str) -> None:
    write_cifar(tmp_path / "cifar")
    path = pack(tmp_path / "cifar", tmp_path / "cifar.tar.gz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if kind == "cut short" else b"text")
    with pytest.raises(UserError, match=r"undamaged .tar archive.*download it again"):
        load_images(path, 256)


# Pickles


class Runs:
    """What a pickle can do: make a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_in_every_shape_and_never_loaded(tmp_path: Path, protocol: int) -> None:
    folder, trap = tmp_path / "cifar-10-batches-py", tmp_path / "trap"
    folder.mkdir()
    content = pickle.dumps({b"data": Runs(trap), b"labels": [1, 2]}, protocol)
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(content)
    single = tmp_path / "images.pkl"
    single.write_bytes(content)
    packed = pack(folder, tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py")
    for path in (folder, folder / "data_batch_1", single, packed):
        with pytest.raises(
            UserError,
            match=r"no pickle, because reading one can run code.*cifar-10-binary\.tar\.gz",
        ):
            load_images(path, 256)
    assert not trap.exists()


def test_a_folder_of_pickles_is_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "train").write_bytes(pickle.dumps({b"data": [1]}, 2))
    with pytest.raises(UserError, match=f"no pickle.*{tmp_path / 'train'}"):
        load_images(tmp_path, 256)


# Idx files


def write_mnist(
    folder: Path, ending: str, *, labels: bool = True
) -> dict[str, tuple[Pixels, Pixels]]:
    sets = {}
    for seed, (prefix, count) in enumerate([("train", 40), ("t10k", 6)]):
        x, y = random_pixels(count, 5, 4, seed=seed), random_pixels(count, seed=seed + 2) % 10
        write_idx(folder / f"{prefix}-images-idx3-ubyte{ending}", x)
        if labels:
            write_idx(folder / f"{prefix}-labels-idx1-ubyte{ending}", y)
        sets[prefix] = x, y
    return sets


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_have_their_images_labels_and_test_set(tmp_path: Path, ending: str) -> None:
    sets = write_mnist(tmp_path, ending)
    source = load_images(tmp_path, 256)
    assert source.dims == (1, 5, 4)
    assert held(source, "test") == given(sets["t10k"][0], sets["t10k"][1].tolist())
    found = held(source, "train") + held(source, "valid")
    assert sorted(found) == sorted(given(sets["train"][0], sets["train"][1].tolist()))
    assert len(source.split("valid")) == 2


def test_idx_files_need_no_labels(tmp_path: Path) -> None:
    write_mnist(tmp_path, ".gz", labels=False)
    assert held(load_images(tmp_path, 256), "test")[0][1] is None


def test_idx_files_for_training_are_needed(tmp_path: Path) -> None:
    write_mnist(tmp_path, "")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(UserError, match=r"or train-images-idx3-ubyte\.gz, got neither; add it"):
        load_images(tmp_path, 256)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (b"\0\0\x08\1", None, "dimensions, which starts 00 00 08 03, got 00 00 08 01"),
        (b"\0\0\x0d\3", None, "starts 00 00 08 03, got 00 00 0d 03"),
        (b"\x1f\x8b\x08\0", None, "got 1f 8b 08 00; download it again; a gzipped file ends in .gz"),
        (
            b"\0\0\x08\3\xff\xff\xff\xff",
            None,
            r"hold 16 \+ 4294967295 x 5 x 4 bytes, as it says, got 816 bytes",
        ),
        (b"", -1, r"hold 16 \+ 40 x 5 x 4 bytes, as it says, got 815 bytes"),
        (b"", 10, "got 00 00 08 03"),
        (b"", 0, "got an empty file"),
    ],
)
def test_a_damaged_idx_file_is_named(
    tmp_path: Path, start: bytes, end: int | None, message: str
) -> None:
    write_mnist(tmp_path, "")
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes((start + path.read_bytes()[len(start) :])[:end])
    with pytest.raises(UserError, match=f"{path} must .*{message}"):
        load_images(tmp_path, 256)


@pytest.mark.parametrize("kind", ["cut short", "changed", "not gzipped"])
def test_a_damaged_gzipped_idx_file_is_named(tmp_path: Path, kind: str) -> None:
    write_mnist(tmp_path, ".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes(
        {"cut short": content[:middle], "changed": changed, "not gzipped": b"text"}[kind]
    )
    with pytest.raises(UserError, match=f"{path} must be an undamaged file"):
        load_images(tmp_path, 256)


def test_as_many_idx_labels_as_images(tmp_path: Path) -> None:
    write_mnist(tmp_path, "")
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", random_pixels(7))
    with pytest.raises(
        UserError, match="t10k-labels-idx1-ubyte must hold a label for each of 6 images, got 7"
    ):
        load_images(tmp_path, 256)


# Downsampled ImageNet


def test_imagenet_has_its_images_labels_and_validation_set(tmp_path: Path) -> None:
    parts = {number: random_pixels(3, 8, 8, 3, seed=number) for number in (1, 2, 10)}
    for number, pixels in parts.items():
        write_imagenet(tmp_path / f"train_data_batch_{number}.npz", pixels, [number, 1000, 1])
    valid = random_pixels(2, 8, 8, 3, seed=3)
    write_imagenet(tmp_path / "val_data.npz", valid, [7, 8])
    source = load_images(tmp_path, 256)
    assert (source.dims, list(source.splits)) == ((3, 8, 8), ["train", "valid"])
    expected = [
        image for number, pixels in parts.items() for image in given(pixels, [number - 1, 999, 0])
    ]
    assert held(source, "train") == expected
    assert held(source, "valid") == given(valid, [6, 7])


def test_a_single_imagenet_archive_is_enough(tmp_path: Path) -> None:
    pixels = random_pixels(5, 8, 8, 3)
    write_imagenet(tmp_path / "part.npz", pixels, [1, 2, 3, 4, 5])
    source = load_images(tmp_path / "part.npz", 256)
    assert sorted(held(source, "train") + held(source, "valid")) == sorted(
        given(pixels, [0, 1, 2, 3, 4])
    )


def test_damaged_imagenet_archives_are_named(tmp_path: Path) -> None:
    path, pixels = tmp_path / "train_data_batch_1.npz", random_pixels(4, 8, 8, 3)
    planes = pixels.reshape(4, -1)
    for arrays, message in [
        (
            {"data": planes, "labels": np.array([0, 1, 2, 3])},
            r"labels in .* lie in 1\.\.1000, got 0",
        ),
        ({"data": planes, "labels": np.array([1, 2, 3, 1001])}, r"lie in 1\.\.1000, got 1001"),
        (
            {"data": planes, "labels": np.array([1, 2, 3])},
            r"data in .* be uint8 \[3, 3 size size\], got uint8 \[4, 192\]",
        ),
        ({"data": planes[:, 1:], "labels": np.array([1, 2, 3, 4])}, r"got uint8 \[4, 191\]"),
        ({"data": planes / 255, "labels": np.array([1, 2, 3, 4])}, "got float64"),
        ({"data": planes[0], "labels": np.array([1, 2, 3, 4])}, r"got uint8 \[192\]"),
        ({"data": planes[:0], "labels": np.array([], dtype=int)}, "hold at least one label"),
        ({"data": planes}, "hold arrays data and labels, got data"),
        (
            {"data": planes.astype(object), "labels": np.array([1, 2, 3, 4])},
            "without pickled objects",
        ),
    ]:
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=message) as caught:
            load_images(tmp_path, 256)
        assert str(path) in str(caught.value)


def test_imagenet_archives_are_of_one_size_and_hold_training_images(tmp_path: Path) -> None:
    write_imagenet(tmp_path / "train_data_batch_1.npz", random_pixels(2, 8, 8, 3), [1, 2])
    write_imagenet(tmp_path / "train_data_batch_2.npz", random_pixels(2, 4, 4, 3), [1, 2])
    with pytest.raises(
        UserError,
        match=r"train_data_batch_2.npz must have 192 values an image, got 48; keep each size",
    ):
        load_images(tmp_path, 256)
    shutil.move(tmp_path / "train_data_batch_1.npz", tmp_path / "val_data.npz")
    (tmp_path / "train_data_batch_2.npz").unlink()
    with pytest.raises(UserError, match=r"hold train_data_batch_1.npz, got no such file"):
        load_images(tmp_path, 256)


def test_reading_never_unpickles(tmp_path: Path) -> None:
    file = BytesIO()
    np.savez(file, x_train=np.array([Runs(tmp_path / "trap")], dtype=object))
    (tmp_path / "trap.npz").write_bytes(file.getvalue())
    with pytest.raises(UserError, match="without pickled objects"):
        load_images(tmp_path / "trap.npz", 256)
    assert not (tmp_path / "trap").exists()


# Memory


@pytest.mark.parametrize("kind", ["cifar", "idx", "imagenet", "npz"])
def test_reading_holds_the_pixels_at_most_twice(tmp_path: Path, kind: str) -> None:
    pixels = random_pixels(1000, 32, 32, 3)  # 3 MB
    if kind == "cifar":
        write_cifar(tmp_path, each=200)
    elif kind == "idx":
        write_idx(tmp_path / "train-images-idx3-ubyte", pixels[..., 0].repeat(3, axis=0))
    elif kind == "imagenet":
        for number in range(5):
            write_imagenet(
                tmp_path / f"train_data_batch_{number}.npz", pixels[200 * number :][:200], [1] * 200
            )
    else:
        np.savez(tmp_path / "images.npz", x_train=pixels)
    readers: dict[str, Callable[[Path], Read]] = {
        "cifar": read_cifar,
        "idx": read_idx,
        "imagenet": read_imagenet,
        "npz": lambda path: read_npz(path / "images.npz"),
    }
    tracemalloc.start()
    found, _ = readers[kind](tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * sum(images.pixels.nbytes for images in found.values())
    assert all(images.pixels.dtype == np.uint8 for images in found.values())


def test_a_gzipped_idx_file_is_read_no_further_than_it_says(tmp_path: Path) -> None:
    """A header of one pixel before 200 MB of zeros: refused, without holding them."""
    content = struct.pack(">4B3I", 0, 0, 8, 3, 1, 1, 1) + bytes(200_000_000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
    del content
    tracemalloc.start()
    with pytest.raises(UserError, match="hold 16 \\+ 1 x 1 x 1 bytes, as it says, got more bytes"):
        load_images(tmp_path, 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_members_of_an_archive_that_cannot_be_batches_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo("data_batch_1.bin")
        member.size = 400_000_000
        archive.addfile(member, Zeros())
    with pytest.raises(UserError, match=r"^data_batch_1\.bin in \S+ must hold at most"):
        load_images(path, 256)


class Zeros(io.RawIOBase):
    """As many zeros as are read."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return bytes(size)


SHAPES = {
    "too large": (10**13, 28, 28),
    "larger than any integer": (10**30, 28, 28),
    "no shape": (True, 4, 4),
}


@pytest.mark.parametrize(
    "kind", [*SHAPES, "encrypted", "unknown compression", "damaged compression", "no header"]
)
def test_archives_that_make_no_sense_are_a_mistake(tmp_path: Path, kind: str) -> None:
    path, header = tmp_path / "x.npz", io.BytesIO()
    shape = SHAPES.get(kind, (1, 4, 4))
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    content = header.getvalue() + bytes(16)
    if kind == "no header":
        content = content.replace(b"{", b"(", 1)
    damaged = kind == "damaged compression"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA if damaged else zipfile.ZIP_STORED) as archive:
        archive.writestr("x_train.npy", content)
    raw = bytearray(path.read_bytes())
    start = raw.index(b"PK\1\2")
    if kind == "encrypted":
        raw[6], raw[start + 8] = raw[6] | 1, raw[start + 8] | 1
    if kind == "unknown compression":
        raw[8:10] = raw[start + 10 : start + 12] = b"\x63\0"
    if damaged:
        raw[60:70] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"be an undamaged \.npz file"):
        load_images(path, 256)
