"""Files of tensors: what was written is read, and whatever else stands in a file is refused by name."""

import json
import os
import stat
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scud.errors import UserError
from scud.files.tensors import TensorFile, UnsoundError, reading, write_tensors

TENSORS = {
    "p0": torch.arange(3, dtype=torch.float64),
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "single": torch.tensor(7),
    "none": torch.zeros(0, 4),
}
METADATA = {"config": '{"a": "é \\u001b", "checksum": "0"}', "step": "3"}


def write(path: Path) -> bytes:
    write_tensors(path, TENSORS, METADATA)
    return path.read_bytes()


def load(path: Path) -> dict[str, torch.Tensor]:
    with reading(path) as file:
        return file.load()


def with_header(path: Path, entries: dict[str, Any], numbers: bytes = b"") -> Path:
    """A file with this header."""
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path)
    with reading(path) as file:
        assert file.metadata["config"] == METADATA["config"]
        assert file.metadata["step"] == "3"
        assert file.tensors["weight"].shape == (2, 3)
        found = file.load()
        file.check()
    others = load_file(path)
    for name, value in TENSORS.items():
        assert found[name].equal(value)
        assert found[name].dtype == value.dtype
        assert others[name].equal(value), "other programs read it too"


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.safetensors")
    assert write(tmp_path / "b.safetensors") == first
    write_tensors(tmp_path / "c.safetensors", dict(reversed(TENSORS.items())), METADATA)
    assert (tmp_path / "c.safetensors").read_bytes() == first


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    whole = write(path)
    unnoticed = []
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            try:
                TensorFile(BytesIO(damaged), len(damaged)).load()
            except UnsoundError:
                continue
            unnoticed.append((place, bit))
    assert unnoticed == []
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UnsoundError, match="its checksum differs"):
        load(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    whole = write(path)
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UnsoundError):
            load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(UnsoundError, match="bytes of numbers"):
        load(path)


def test_a_file_without_metadata_has_no_checksum(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "old.safetensors")
    found = load(tmp_path / "old.safetensors")
    assert all(found[name].equal(value) for name, value in TENSORS.items())


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        {},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "more": 1},
        {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**82]},
        {"dtype": "F32", "shape": [0, 2**61, 2**61], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
    ],
)
def test_headers_that_are_wrong(tmp_path: Path, entry: Any) -> None:
    path = with_header(tmp_path / "a.safetensors", {"a": entry}, b"\0\0\0\0")
    with pytest.raises(UnsoundError):
        load(path)


def test_headers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    two = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for entries in ({"a": two, "b": two}, {"__metadata__": {"a": 1}}, {"__metadata__": {"a": "1"}}):
        with pytest.raises(UnsoundError):
            load(with_header(path, entries, b"\0\0\0\0" if "a" in entries else b""))
    for text in (b"[", b"[]", b"[" * 100_000, b"\xff", b'{"a": 1, "a": 1}', b'{"a": NaN}', b""):
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(UnsoundError, match="its header is no JSON"):
            load(path)
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(UnsoundError, match="cut short"):
        load(path)
    with path.open("wb") as file:
        file.write((2**34).to_bytes(8, "little"))
        file.truncate(2**35)  # a file of holes: it takes no room
    with pytest.raises(UnsoundError, match=r"its header would have 17,179,869,184 bytes"):
        load(path)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(UserError, match="must name a"):
            load(tmp_path / name)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_may_be_read_by_those_whom_the_umask_allows(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode
