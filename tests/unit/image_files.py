"""Files of images for tests, byte for byte in the forms in which data sets are published."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

CIFAR_BATCHES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def random_pixels(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_cifar(folder: Path, each: int = 2) -> dict[str, tuple[Pixels, list[int]]]:
    """The six batches of CIFAR-10's binary version, of `each` images: pixels [each, height, width, colour] and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {}
    for number, name in enumerate(CIFAR_BATCHES):
        pixels, labels = (
            random_pixels(each, 32, 32, 3, seed=number),
            [(number + i) % 10 for i in range(each)],
        )
        records = bytearray()
        for image, label in zip(pixels, labels, strict=True):
            records += bytes([label]) + b"".join(
                image[:, :, colour].tobytes() for colour in range(3)
            )
        (folder / name).write_bytes(records)
        held[name] = pixels, labels
    return held


def write_idx(path: Path, array: Pixels) -> None:
    """An idx file of unsigned bytes, gzipped if it is called .gz."""
    content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_imagenet(path: Path, pixels: Pixels, labels: list[int]) -> None:
    """An archive of downsampled ImageNet: pixels [N, height, width, colour], labels 1..1000."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    np.savez(path, data=planes, labels=np.array(labels), mean=planes.mean(0))


def png(rows: NDArray[Any], bits: int, colour: int) -> bytes:
    """A PNG file with rows [height, bytes], of a bit depth and a colour type of the PNG standard."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    height, width = len(rows), rows.shape[1] * 8 // (bits * channels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
