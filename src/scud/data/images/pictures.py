"""Pictures as people have them, PNG, JPEG and others: decoding them strictly, and folders of them.

A picture has one frame, grey or red, green and blue, with eight bits a channel. Palettes become RGB and bitmaps grey, which
loses nothing. What would need a choice, such as a size, a background or fewer bits, is refused: nothing is changed silently.
Pixels are taken as they are stored, so an orientation noted in a JPEG is not applied.

A folder holds pictures; or a subfolder for each class, which is called like it; or `train`, perhaps
`valid` (also called `val` or `validation`) and `test`, each one of these two. Pictures are in the order of their paths. Hidden
files are passed over.
"""

import sys
import warnings
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scud.data.images.archives import Pixels
from scud.data.splits import SPLIT_NAMES
from scud.errors import fail

if TYPE_CHECKING:
    from PIL import ImageFile

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_BITS_PER_SAMPLE = 258
_MANY = 5000  # takes seconds, which asks for a progress bar


def stack(
    pictures: Iterable[tuple[str, Path | BytesIO]], count: int, dims: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """Decode `count` pictures, each with what to call it, to pixels [count, channels, height, width].

    All are of the shape `dims`; without it, of the first one's.

    Raises:
        UserError: one is not as the module says, or of another shape; named.
    """
    from PIL import Image
    from rich.console import Console
    from rich.progress import Progress

    pixels = np.empty((0,), np.uint8)
    bar = Progress(console=Console(file=sys.stderr), transient=True, disable=count < _MANY)
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for number, (name, file) in enumerate(
            bar.track(pictures, count, description="reading pictures")
        ):
            picture = decode(name, file)
            dims = dims or picture.shape
            if number == 0:
                pixels = np.empty((count, *dims), np.uint8)
            if picture.shape != dims:
                what = (
                    "bring all to one size"
                    if picture.shape[0] == dims[0]
                    else "convert all to grey, or all to RGB"
                )
                rule = f"have the {_shown(dims)} of the first one"
                raise fail(f"the picture {name}", rule, _shown(picture.shape), what)
            pixels[number] = picture
    return pixels


def _shown(dims: Sequence[int]) -> str:
    channels, height, width = dims
    return (
        f"{width} x {height} pixels and {'1 channel' if channels == 1 else f'{channels} channels'}"
    )


def decode(name: str, file: Path | BytesIO) -> NDArray[np.uint8]:
    """Pixels [channels, height, width] of one picture, which is called `name`; 1 or 3 channels.

    Raises:
        UserError: it cannot be decoded whole, or is not as the module says.
    """
    from PIL import Image  # needed for pictures alone

    what = f"the picture {name}"
    try:
        with Image.open(file, formats=_FORMATS) as picture:
            frames, bits = int(getattr(picture, "n_frames", 1)), _bits(picture)
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        rule = f"have at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise fail(what, rule, f"more ({error})", "make it smaller, or remove it") from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        rule = f"be an undamaged file of the kind {', '.join(_FORMATS)}"
        remedy = "remove it or replace it"
        raise fail(what, rule, f"an error ({type(error).__name__}: {error})", remedy) from error
    if frames > 1:
        raise fail(
            what, "hold one frame", f"{frames} frames", "save the frames as pictures of their own"
        )
    if bits > 8 or picture.mode[0] in "IF":
        found = f"{bits} bits" if bits > 8 else f"mode {picture.mode}"
        raise fail(
            what,
            "have 8 bits a channel",
            found,
            "rescale its values to 0..255 and save it with 8 bits",
        )
    if picture.has_transparency_data:
        remedy = "flatten it on a background, and save it without an alpha channel"
        raise fail(what, "have no transparency", f"mode {picture.mode} with transparency", remedy)
    if picture.mode not in ("1", "L", "P", "RGB"):
        raise fail(what, "be grey or RGB", f"mode {picture.mode}", "convert it to grey or RGB")
    shown = picture.convert("RGB" if picture.mode in ("P", "RGB") else "L")
    return np.moveaxis(np.atleast_3d(np.asarray(shown)), -1, 0)


def _bits(picture: "ImageFile.ImageFile") -> int:
    """Bits a channel in the file, before decoding: of colours with 16 bits, Pillow drops half without a word."""
    from PIL import TiffImagePlugin

    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(max(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))))
    raw = str(picture.tile[0].args) if picture.format == "PNG" else ""
    return 16 if raw.endswith(";16B") else 8


def read_folder(folder: Path) -> tuple[dict[str, Pixels], list[str]]:
    """The splits of a folder of pictures, and a line about files that are not pictures, if there are any.

    Raises:
        UserError: no pictures, a layout other than the module's, or a picture that is not as it should be.
    """
    files = sorted(
        (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()),
        key=lambda path: path.as_posix(),
    )
    shown = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    pictures = [file for file in shown if file.suffix.lower() in _SUFFIXES]
    others = [file for file in shown if file.suffix.lower() not in _SUFFIXES]
    if not pictures:
        remedy = f"give a folder of pictures ({', '.join(_SUFFIXES)}), or of files as CIFAR-10, MNIST or ImageNet have"
        raise fail("path", "hold pictures", f"{folder} with {len(others)} other files", remedy)
    splits: dict[str, Pixels] = {}
    dims: tuple[int, ...] | None = None
    known: set[str] | None = None
    for split, (place, members) in _splits(folder, pictures).items():
        classes = _class_names(folder / place, [file.relative_to(place) for file in members])
        known = set(classes) if known is None else known
        if set(classes) - known or bool(classes) != bool(known):
            found = ", ".join(sorted(set(classes) - known)) or "pictures without a class"
            rule = (
                f"hold the classes of the training pictures, {', '.join(sorted(known)) or 'none'}"
            )
            raise fail(str(folder / place), rule, found, "give every split the same classes")
        named = ((str(folder / file), folder / file) for file in members)
        pixels = stack(named, len(members), dims)
        label = np.array(classes) if classes else None
        splits[split] = Pixels(pixels, label, tuple(file.name for file in members))
        dims = pixels.shape[1:]
    if not others:
        return splits, []
    return splits, [f"left out {len(others):,} files that are no pictures, such as {others[0]}"]


def _class_names(place: Path, files: list[Path]) -> list[str]:
    """The class folder that each of the files, given relative to `place`, is in; none where there are no such folders."""
    names = [file.parts[0] for file in files if len(file.parts) > 1]
    if names and len(names) < len(files):
        remedy = "move all pictures into folders of their classes, or all into one folder"
        raise fail(str(place), "hold either pictures or folders of them", "both", remedy)
    return names


def _splits(folder: Path, pictures: list[Path]) -> dict[str, tuple[Path, list[Path]]]:
    """Each split's place in the folder and its pictures, those for training first."""
    tops = {file.parts[0] if len(file.parts) > 1 else "." for file in pictures}
    if not tops & set(SPLIT_NAMES):
        return {"train": (Path(), pictures)}
    members = {top: [file for file in pictures if file.parts[0] == top] for top in sorted(tops)}
    splits = {SPLIT_NAMES[top]: (Path(top), members[top]) for top in members if top in SPLIT_NAMES}
    if len(splits) < len(tops) or "train" not in splits:
        rule = "hold train, valid and test and nothing beside them, if it holds one of them"
        remedy = "move classes of such a name into a folder train, or add train"
        raise fail(str(folder), rule, f"pictures in {', '.join(sorted(tops))}", remedy)
    return {split: splits[split] for split in ("train", "valid", "test") if split in splits}
