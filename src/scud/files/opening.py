"""Opening files that others name: only what is a plain file is opened, and nothing here waits for ever or fills the memory."""

import stat
from pathlib import Path
from typing import Any

from scud.errors import fail

_TEXT = 64 << 20


def check_file(path: Path, what: str, argument: str = "path") -> None:
    """Raise `UserError` unless a path is a plain file, or a link to one.

    Args:
        path: the path.
        what: of which kind the file should be, such as "a FASTA file".
        argument: what the path is called in messages.
    """
    mode = _mode(path, argument)
    if mode is None:
        remedy = "check the spelling, or give the full path"
        raise fail(argument, "name a file that exists", path, remedy)
    if stat.S_ISDIR(mode):
        raise fail(argument, "name a file", f"the folder {path}", f"give {what} that is in it")
    if not stat.S_ISREG(mode):
        remedy = f"save what it holds, and give {what}"
        raise fail(argument, "name a plain file", f"a pipe or device, {path}", remedy)


def is_file(path: Path, argument: str = "path") -> bool:
    """Whether a path is a plain file; raises `UserError` for a path that cannot be followed."""
    mode = _mode(path, argument)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path, argument: str = "path") -> bool:
    """Whether a path is a folder; raises `UserError` for a path that cannot be followed."""
    mode = _mode(path, argument)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path, argument: str) -> int | None:
    """What a path is, or None where nothing is there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (
        OSError,
        ValueError,
    ) as error:  # links in a circle, no permission, a name too long, a NUL
        reason = getattr(error, "strerror", None) or error
        remedy = "check the path, its links and its permissions"
        raise fail(
            argument, "be a path that can be followed", f"{path} ({reason})", remedy
        ) from error


def absolute(path: Path, argument: str = "path") -> Path:
    """A path from the root, with ~ as the home folder and links followed.

    Raises:
        UserError: there is no such home folder, or a link leads to itself.
    """
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        remedy = "write the path from the root, without ~ and such links"
        raise fail(
            argument, "be a path that can be followed", f"{path} ({error})", remedy
        ) from error


def read_bytes(path: Path, what: str, *, argument: str = "path", most: int = _TEXT) -> bytes:
    """The content of a plain file.

    Args:
        path: the file.
        what: of which kind it should be.
        argument: what it is called in messages.
        most: bytes that it may have.

    Raises:
        UserError: it is no plain file, cannot be read, or is larger.
    """
    check_file(path, what, argument)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise unreadable(path, error, argument) from error
    if len(content) > most:
        found = f"{path} of {path.stat().st_size:,} bytes"
        raise fail(argument, f"be {what} of at most {most:,} bytes", found, "check what it holds")
    return content


def read_text(path: Path, what: str, *, argument: str = "path", most: int = _TEXT) -> str:
    """The text of a plain file in UTF-8; arguments and errors as in `read_bytes`."""
    content = read_bytes(path, what, argument=argument, most=most)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        found = f"{path} with byte 0x{content[error.start]:02x} at {error.start:,}"
        raise fail(argument, f"be {what} in UTF-8", found, "save it as UTF-8") from error


def unreadable(path: Path, error: OSError, argument: str = "path") -> Any:
    """The error of a file that cannot be read."""
    found = f"{path} ({error.strerror or error})"
    return fail(argument, "be readable", found, "check its permissions and disk")
