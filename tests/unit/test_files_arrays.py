"""Arrays in files: sizes are compared with the file and the memory before anything is read; nothing waits or unpickles."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from scud.data import load_arrays, load_images
from scud.errors import UserError
from scud.files.arrays import npy_array, npz_arrays, safetensors_arrays
from scud.networks import UNet
from scud.numerics import memory


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    return npz_arrays(path, argument="path", remedy="write it again")[0]


def read_npy(path: Path) -> NDArray[Any]:
    return npy_array(path, argument="path", remedy="write it again")


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    return safetensors_arrays(path, argument="path", remedy="write it again")


def header(shape: tuple[Any, ...], descr: Any = "|u1") -> bytes:
    file = io.BytesIO()
    content = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content)
    return file.getvalue()


def zipped(path: Path, *contents: bytes, names: tuple[str, ...] = ("x.npy",)) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=True):
            archive.writestr(name, content)
    return path


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 2 MB of memory."""
    monkeypatch.setattr(memory, "memory", lambda: 2 << 20)


def test_the_memory_is_that_of_the_machine() -> None:
    assert 1 << 28 < memory.memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_arrays_that_are_right_are_read_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "b": np.array(["x", "yz"]),
        "c": np.arange(3, dtype=">i4"),
        "d": np.zeros((0, 3)),
    }
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    np.savez_compressed(tmp_path / "b.npz", **arrays)  # type: ignore[arg-type]
    for path in (tmp_path / "a.npz", tmp_path / "b.npz"):
        found = read_npz(path)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    np.save(tmp_path / "a.npy", arrays["a"])
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), arrays["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**9, 30, 30)) + bytes(99), "takes 900000000000 bytes, and it has 227 in all"),
        (header((4,)) + bytes(5), "takes 4 bytes, and it has 133 in all"),
        (header((4,)) + bytes(3), "takes 4 bytes"),
        (header((-4,)) + bytes(4), "no array is uint8"),
        (header((True, 4)) + bytes(4), "no array is uint8"),
        (header((10**30,), "<U0"), "no array is <U0"),
        (header((4,), "|O") + bytes(32), "it holds pickled objects"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", 60_000_000) + bytes(99), ""),
        (b"\x93NUMPY\3\0" + header((4,))[8:] + bytes(4), "3.0 is for arrays of named fields"),
        (header((4,)).replace(b"{", b"("), ""),
        (header((4,)).replace(b"(4,)", b"((((")[:128], ""),
        (b"text", ""),
        (b"", ""),
    ],
)
def test_headers_that_make_no_sense_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = zipped(tmp_path / "a.npz", content)
    with pytest.raises(UserError, match=rf"undamaged \.npz .*{message}.*; write it again"):
        read_npz(path)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=rf"undamaged \.npy .*{message}.*; write it again"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("x.npy", "x.npy"), ("x.npy", "x")])
def test_two_arrays_of_one_name_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    content = header((1,)) + b"\0"
    path = zipped(tmp_path / "a.npz", content, content, names=names)
    with pytest.raises(UserError, match="it holds x twice"):
        read_npz(path)


@pytest.mark.usefixtures("little")
def test_arrays_larger_than_the_memory_allows_are_refused_before_they_are_read(
    tmp_path: Path,
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(700_000, np.uint8), y=np.zeros(700_000, np.uint8))
    np.save(tmp_path / "a.npy", np.zeros(1_400_000, np.uint8))
    save_file({"x": torch.zeros(350_001, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    readers: dict[str, Callable[[Path], Any]] = {
        "a.npz": read_npz,
        "a.npy": read_npy,
        "a.safetensors": read_safetensors,
    }
    for name, read in readers.items():
        tracemalloc.start()
        with pytest.raises(UserError, match=r"fit into one part in 2 of memory, which is 1\.0 MB"):
            read(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 500_000
    found, _ = npz_arrays(tmp_path / "a.npz", ["x"], argument="path", remedy="")
    assert found["x"].nbytes == 700_000


def test_sizes_of_sparse_files_are_compared_with_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(header((10**11, 10)))
        file.truncate(file.tell() + 10**12)
    with pytest.raises(UserError, match="path must fit into one part"):
        load_arrays(tmp_path / "a.npy")
    (tmp_path / "cifar").mkdir()
    with (tmp_path / "cifar" / "data_batch_1.bin").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match=r"data_batch_1.bin must hold at most 307300000 bytes"):
        load_images(tmp_path / "cifar", 256)


def test_what_holds_many_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path, x_train=np.arange(300, dtype=np.uint8).repeat(1000).reshape(300, 20, 50)
    )
    load_images(path, 256)
    idx = struct.pack(">4B3I", 0, 0, 8, 3, 1000, 10, 10) + bytes(100_000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    monkeypatch.setattr("scud.files.memory.PLAIN", 10_000)
    with pytest.raises(UserError, match=r"at most 100 times its size.*with np.savez, if these"):
        load_images(path, 256)
    with pytest.raises(UserError, match=r"at most 100 times its size.*decompress it with gunzip"):
        load_images(tmp_path, 256)


@pytest.mark.usefixtures("little")
def test_pictures_larger_together_than_the_memory_allows_are_refused_before_decoding(
    tmp_path: Path,
) -> None:
    for number in range(20):
        Image.new("RGB", (200, 100)).save(tmp_path / f"{number}.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    with pytest.raises(
        UserError, match=r"fit into one part .* got 20 pictures of 200 x 100 pixels"
    ):
        load_images(tmp_path, 256)


def test_a_tape_archive_is_read_no_further_than_batches_could_be(tmp_path: Path) -> None:
    """A header that announces 8 GB of names."""
    name = b"x".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"77777777777\0" + b"0" * 12
    block = bytearray((name + b" " * 8 + b"x" + bytes(100) + b"ustar\00000").ljust(512, b"\0"))
    block[148:156] = f"{sum(block[:148]) + 8 * 32 + sum(block[156:]):06o}\0 ".encode()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(block) + bytes(10_000)))
    with pytest.raises(UserError, match=r"undamaged .tar archive.*it asks for 8,589,934,\d+ bytes"):
        load_images(tmp_path / "a.tar.gz", 256)


@pytest.mark.parametrize("ending", ["npz", "npy", "parquet", "tar.gz"])
def test_pipes_devices_and_links_in_a_circle_are_refused(tmp_path: Path, ending: str) -> None:
    pipe, device, circle = (tmp_path / f"{name}.{ending}" for name in ("pipe", "device", "circle"))
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    circle.symlink_to(circle)
    np.savez(tmp_path / "right.npz", x_train=np.arange(200, dtype=np.uint8).reshape(4, 10, 5))
    for path in (pipe, device, circle):
        message = "be a path that can be followed" if path == circle else "got a pipe or device"
        with pytest.raises(UserError, match=message):
            load_images(path, 256)
        with pytest.raises(UserError, match=message):
            load_arrays(path)
        with pytest.raises(UserError, match=message):
            load_images(tmp_path / "right.npz", 256, files={"valid": path})


def test_a_group_of_one_value_cannot_be_normalised() -> None:
    with pytest.raises(UserError, match=r"width must be at least 16 for images of one pixel"):
        UNet(4, (1, 1, 1), width=8, levels=1)
    UNet(4, (1, 1, 1), width=16, levels=1)
