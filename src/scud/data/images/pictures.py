"""Pictures as people have them, PNG, JPEG and others: decoding them strictly.

A picture has one frame, grey or red, green and blue, with eight bits a channel. Palettes become RGB and bitmaps grey, which
loses nothing. What would need a choice, such as a size, a background or fewer bits, is refused: nothing is changed silently.
A picture whose file notes an orientation, as cameras do, is turned upright, whatever the format, and the number of those is
reported.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scud.errors import UserError, fail
from scud.files.memory import check_read

if TYPE_CHECKING:
    from PIL import Image, ImageFile

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""Formats that are read, as Pillow calls them."""

_BITS_PER_SAMPLE = 258
_MANY = 5000  # takes seconds, which asks for a progress bar


class Decoded(NamedTuple):
    """Pixels [channels, height, width] of a picture, or [N, channels, height, width] of several; how many were turned upright."""

    pixels: NDArray[np.uint8]
    turned: int


def stack(
    pictures: Iterable[tuple[str, Path | BytesIO]],
    count: int,
    dims: tuple[int, ...] | None = None,
    total: int | None = None,
) -> Decoded:
    """Decode `count` pictures, each with what to call it, to pixels [count, channels, height, width].

    All are of the shape `dims`; without it, of the first one's. With those of other splits they are `total` pictures.

    Raises:
        UserError: one is not as the module says, or of another shape; named. Or all would take more than the memory allows.
    """
    from PIL import Image
    from rich.console import Console
    from rich.progress import Progress

    pixels, turned = np.empty((0,), np.uint8), 0
    bar = Progress(console=Console(file=sys.stderr), transient=True, disable=count < _MANY)
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("ignore", UserWarning)  # of notes that Pillow cannot read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for number, (name, file) in enumerate(
            bar.track(pictures, count, description="reading pictures")
        ):
            picture = decode(name, file, total or count)
            dims = dims or picture.pixels.shape
            if number == 0:
                pixels = np.empty((count, *dims), np.uint8)
            _check_dims(name, picture.pixels.shape, dims)
            pixels[number] = picture.pixels
            turned += picture.turned
    return Decoded(pixels, turned)


def _check_dims(name: str, found: Sequence[int], dims: Sequence[int]) -> None:
    if tuple(found) != tuple(dims):
        sizes = found[0] == dims[0]
        remedy = "bring all to one size" if sizes else "convert all to grey, or all to RGB"
        rule = f"have the {_shown(dims)} of the first one"
        raise fail(f"the picture {name}", rule, _shown(found), remedy)


def _shown(dims: Sequence[int]) -> str:
    channels, height, width = dims
    return (
        f"{width} x {height} pixels and {'1 channel' if channels == 1 else f'{channels} channels'}"
    )


def decode(name: str, file: Path | BytesIO, total: int = 1) -> Decoded:
    """One of `total` pictures of one size, which is called `name`; 1 or 3 channels.

    Raises:
        UserError: it cannot be decoded whole, is not as the module says, or so many would take more than the memory allows.
    """
    from PIL import ExifTags, Image, ImageOps  # needed for pictures alone

    what = f"the picture {name}"
    try:
        with Image.open(file, formats=FORMATS) as picture:
            _check_total(what, picture, total)
            frames, bits = int(getattr(picture, "n_frames", 1)), _bits(picture)
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
    except UserError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        rule = f"have at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise fail(what, rule, f"more ({error})", "make it smaller, or remove it") from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        rule = f"be an undamaged file of the kind {', '.join(FORMATS)}"
        remedy = "remove it or replace it"
        raise fail(what, rule, f"an error ({type(error).__name__}: {error})", remedy) from error
    _check_kind(what, picture, frames, bits)
    shown = upright.convert("RGB" if picture.mode in ("P", "RGB") else "L")
    return Decoded(np.moveaxis(np.atleast_3d(np.asarray(shown)), -1, 0), int(turned))


def _check_total(what: str, picture: "Image.Image", total: int) -> None:
    """Raise `UserError` if so many pictures of this one's size would take more than the memory allows."""
    width, height = picture.size
    size = total * width * height * (1 if picture.mode in ("1", "L") else 3)
    shown = f"{total:,} pictures of {width} x {height} pixels"
    check_read(
        f"pictures such as {what.removeprefix('the picture ')}",
        size,
        shown,
        "make them smaller, or give fewer",
    )


def _check_kind(what: str, picture: "Image.Image", frames: int, bits: int) -> None:
    """Raise `UserError` for what would need a choice."""
    if frames > 1:
        remedy = "save the frames as pictures of their own"
        raise fail(what, "hold one frame", f"{frames} frames", remedy)
    if bits > 8 or picture.mode[0] in "IF":
        found = f"{bits} bits" if bits > 8 else f"mode {picture.mode}"
        remedy = "rescale its values to 0..255 and save it with 8 bits"
        raise fail(what, "have 8 bits a channel", found, remedy)
    if picture.has_transparency_data:
        remedy = "flatten it on a background, and save it without an alpha channel"
        raise fail(what, "have no transparency", f"mode {picture.mode} with transparency", remedy)
    if picture.mode not in ("1", "L", "P", "RGB"):
        raise fail(what, "be grey or RGB", f"mode {picture.mode}", "convert it to grey or RGB")


def _bits(picture: "ImageFile.ImageFile") -> int:
    """Bits a channel in the file, before decoding: of colours with 16 bits, Pillow drops half without a word."""
    from PIL import TiffImagePlugin

    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(max(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    raw = str(picture.tile[0].args) if picture.format == "PNG" else ""
    return 16 if raw.endswith(";16B") else 8
