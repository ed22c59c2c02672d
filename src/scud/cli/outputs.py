"""Where results are written: a place is checked, and held, before anything is computed."""

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scud.errors import fail
from scud.files import absolute, is_file, is_folder, make_folder
from scud.files.locks import NAME, locked
from scud.files.writing import remove_temporaries, short

AGAIN = "add --overwrite to replace it, or choose another --out"

SAMPLES = ("samples.*", "denoising.gif")
"""What the files of samples are called, of any kind of data."""


@contextmanager
def output_file(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A file that may be written until the block ends, with links followed; no second command may write it meanwhile.

    Args:
        target: the file.
        overwrite: whether to replace one that is there.

    Raises:
        UserError: it is there already, it is no plain file, or its folder is missing or cannot be written to.
    """
    path = absolute(target, "out")
    if not is_folder(path.parent, "out"):
        raise fail("out", "lie in a folder that exists", target, f"create {target.parent} first")
    if is_folder(path, "out"):
        raise fail("out", "name a file", f"the folder {target}", "name a file in it")
    if not is_file(path, "out") and path.exists():
        raise fail("out", "name a plain file", f"a pipe or device, {target}", "choose another")
    check_room(path.parent)
    with locked(path.parent, "out", name=f".{short(path.name)}{NAME}"):
        _check_free([path] if path.exists() else [], overwrite)
        remove_temporaries(path.parent, glob.escape(short(path.name)))
        yield path


@contextmanager
def output_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder for samples, made if it is missing; arguments and errors as in `output_file`."""
    path = absolute(folder, "out")
    _check_above(path)
    made = not path.exists()
    make_folder(path)
    try:
        check_room(path)
        with locked(path, "out"):
            _check_free([file for name in SAMPLES for file in path.glob(name)], overwrite)
            remove_temporaries(path, *SAMPLES)
            yield path
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def check_room(folder: Path) -> None:
    """Raise `UserError` unless a file can be written in an existing folder: one is, and is removed."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 12))
    except OSError as error:
        found = f"{folder} ({error.strerror or error})"
        raise fail(
            "out", "lie in a folder that can be written to", found, "choose another --out"
        ) from error


def _check_above(folder: Path) -> None:
    """Raise `UserError` where a folder, or one above it, is something else."""
    for path in (folder, *folder.parents):
        if is_folder(path, "out"):
            return
        if path.exists():
            raise fail("out", "be a folder", f"a file, {path}", "choose another --out")


def _check_free(there: Sequence[Path], overwrite: bool) -> None:
    if there and not overwrite:
        raise fail("out", "not be there already", there[0], AGAIN)
