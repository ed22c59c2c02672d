"""Folders of pictures, by split and class.

A folder holds pictures; or a subfolder for each class, which is called like it; or `train`, perhaps `valid` and `test`, each one
of these two (see `scud.data.splits` for other names of splits). All of this may be in a folder alone in it, such as `images`.
Links are followed, pictures are in the order of their paths, and hidden files are passed over.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scud.data.images.pictures import stack
from scud.data.images.pixels import Pixels, Read, listed
from scud.data.images.walk import walk
from scud.data.splits import SPLITS, split_of, splits_in
from scud.errors import fail

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def read_folder(folder: Path) -> Read:
    """The splits of a folder of pictures.

    Raises:
        UserError: no pictures, a layout other than the module's, or a picture that is not as it should be.
    """
    files, report = walk(folder)
    pictures = [file for file in files if file.suffix.lower() in _SUFFIXES]
    others = [file for file in files if file.suffix.lower() not in _SUFFIXES]
    if not pictures:
        remedy = f"give a folder of pictures ({', '.join(_SUFFIXES)}), or of files as CIFAR-10, MNIST or ImageNet have"
        found = "; ".join([f"{folder} with {len(others)} other files", *report])
        raise fail("path", "hold pictures", found, remedy)
    top = _top(pictures)
    if top.parts:
        report.append(f"read the folder {top} in it")
    places = _splits(folder, top, pictures)
    turned = 0
    splits: dict[str, Pixels] = {}
    for split, (classes, place, members) in _classes(folder, places).items():
        named = ((str(folder / file), folder / file) for file in members)
        dims = splits["train"].pixels.shape[1:] if splits else None
        decoded = stack(named, len(members), dims, len(pictures))
        label = np.array(classes) if classes else None
        splits[split] = Pixels(decoded.pixels, label, tuple(file.name for file in members))
        turned += decoded.turned
        if place.parts and split not in place.parts:
            report.append(f"read as {split}: the folder {place}")
    report += listed(f"left out {len(others):,} files that are no pictures", others)
    return splits, report + turned_line(turned)


def turned_line(turned: int) -> list[str]:
    """The line about pictures that were turned upright, if there are any."""
    return [f"turned upright, as their files note: {turned:,} pictures"] if turned else []


def _top(pictures: list[Path]) -> Path:
    """The folder that splits are in, where that is alone in the folder above it; else the folder itself."""
    top = Path()
    while True:
        names = _names(pictures, top)
        if any(map(split_of, names)):
            return top
        if len(names) > 1 or "." in names:
            return Path()
        top /= names.pop()


def _names(pictures: Iterable[Path], top: Path) -> set[str]:
    """The names of the folders that pictures are in, one level below `top`; a dot for those in `top` itself."""
    depth = len(top.parts)
    return {file.parts[depth] if len(file.parts) > depth + 1 else "." for file in pictures}


def _splits(folder: Path, top: Path, pictures: list[Path]) -> dict[str, tuple[Path, list[Path]]]:
    """Each split's place in the folder and its pictures, those for training first."""
    depth, names = len(top.parts), sorted(_names(pictures, top))
    found = [split for name in names if (split := split_of(name)) is not None]
    if not found:
        _check_no_splits(folder, names, pictures)
        return {"train": (Path(), pictures)}
    if len(set(found)) < len(names) or "train" not in found:
        rule = "hold train, valid and test and nothing beside them, if it holds one of them"
        remedy = "move classes of such a name into a folder train, or add train"
        raise fail(str(folder / top), rule, f"pictures in {', '.join(names)}", remedy)
    members = {name: [file for file in pictures if file.parts[depth] == name] for name in names}
    places = {split_of(name): (top / name, members[name]) for name in names}
    return {split: places[split] for split in SPLITS if split in places}


def _check_no_splits(folder: Path, names: list[str], pictures: list[Path]) -> None:
    """Raise `UserError` for folders of classes that may be splits, or have splits in them: test pictures would be trained on."""
    doubtful = [name for name in names if splits_in(name)]
    if len(set().union(*map(splits_in, doubtful))) > 1:
        remedy = "call the folders of splits train, valid and test; move classes of such names into a folder train"
        raise fail(str(folder), "say which of its folders are splits", ", ".join(doubtful), remedy)
    for file in pictures:
        for name in file.parts[1:-1]:
            if split_of(name) in ("valid", "test"):
                rule, remedy = "hold splits above classes, as train/cat", "move them, or rename it"
                raise fail(str(folder), rule, f"the folder {name} in {file.parts[0]}", remedy)


def _classes(
    folder: Path, places: dict[str, tuple[Path, list[Path]]]
) -> dict[str, tuple[list[str], Path, list[Path]]]:
    """The class of each picture of each split, with its place and pictures; raises unless classes are those of training."""
    classes: dict[str, tuple[list[str], Path, list[Path]]] = {}
    known: set[str] = set()
    for split, (place, members) in places.items():
        names = _class_names(folder / place, [file.relative_to(place) for file in members])
        known = known if classes else set(names)
        if set(names) - known or bool(names) != bool(known):
            found = ", ".join(sorted(set(names) - known)) or "pictures without a class"
            listing = ", ".join(sorted(known)) or "none"
            rule = f"hold the classes of the training pictures, {listing}"
            raise fail(str(folder / place), rule, found, "give every split the same classes")
        classes[split] = names, place, members
    return classes


def _class_names(place: Path, files: list[Path]) -> list[str]:
    """The class folder that each of the files, given relative to `place`, is in; none where there are no such folders."""
    names = [file.parts[0] for file in files if len(file.parts) > 1]
    if names and len(names) < len(files):
        remedy = "move all pictures into folders of their classes, or all into one folder"
        raise fail(str(place), "hold either pictures or folders of them", "both", remedy)
    return names
