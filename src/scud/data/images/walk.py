"""The files below a folder, links to folders followed, and what is there that cannot be read as a file."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scud.data.images.pixels import listed
from scud.errors import fail
from scud.files.opening import unreadable

_AGAIN = 1_000
"""How often folders may be reached again by links: a few links in each of many folders would never end."""


class Found(NamedTuple):
    """What is below a folder and not hidden.

    Attributes:
        files: in the order of their paths, which are relative to the folder.
        report: a line for each sort of thing that is left out.
    """

    files: list[Path]
    report: list[str]


def walk(folder: Path) -> Found:
    """The files below a folder; as in torchvision, those in folders that links lead to are in it.

    Raises:
        UserError: a folder or a link cannot be read, or links lead to the same folders again and again.
    """
    files, nowhere, back, others = list[Path](), list[Path](), list[Path](), list[Path]()
    seen, again = {_identity(folder.stat())}, 0
    waiting = [(Path(), frozenset(seen))]
    while waiting:
        place, above = waiting.pop()
        for name, found in _entries(folder / place):
            path = place / name
            if found is None:
                nowhere.append(path)
            elif stat.S_ISREG(found.st_mode):
                files.append(path)
            elif not stat.S_ISDIR(found.st_mode):
                others.append(path)
            elif _identity(found) in above:
                back.append(path)
            else:
                again += _identity(found) in seen
                seen.add(_identity(found))
                waiting.append((path, above | {_identity(found)}))
        if again > _AGAIN:
            rule, remedy = f"reach folders again by at most {_AGAIN:,} links", "remove some"
            raise fail(str(folder), rule, "more", remedy)
    report = [
        *listed(f"left out {len(nowhere):,} links that lead nowhere", nowhere),
        *listed(
            f"left out {len(back):,} links that lead back into the folder that they are in", back
        ),
        *listed(f"left out {len(others):,} pipes or devices", others),
    ]
    return Found(sorted(files, key=lambda path: path.as_posix()), report)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """The names in a folder that are not hidden, and what each is or leads to; None for a link that leads nowhere."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    for name in names:
        try:
            yield name, (folder / name).stat()
        except OSError as error:
            if not (folder / name).is_symlink():
                raise unreadable(folder / name, error) from error
            yield name, None
