"""Opening files that others name: only what is a plain file is opened, and nothing here waits for ever or fills the memory."""

import stat
from pathlib import Path
from typing import Any

from scud.errors import UserError, fail

_TEXT = 64 << 20


def check_file(path: Path, what: str, argument: str = "path") -> None:
    """Raise `UserError` unless a path is a plain file, or a link to one.

    Args:
        path: the path.
        what: of which kind the file should be, such as "a FASTA file".
        argument: what the path is called in messages.
    """
    kind = kind_of(path, argument)
    if kind is None:
        remedy = "check the spelling, or give the full path"
        raise fail(argument, "name a file that exists", path, remedy)
    if kind == "folder":
        raise fail(argument, "name a file", f"the folder {path}", f"give {what} that is in it")
    if kind != "file":
        remedy = f"save what it holds, and give {what}"
        raise fail(argument, "name a plain file", f"a pipe or device, {path}", remedy)


def is_file(path: Path, argument: str = "path") -> bool:
    """Whether a path is a plain file; raises `UserError` for a path that cannot be followed."""
    return kind_of(path, argument) == "file"


def is_folder(path: Path, argument: str = "path") -> bool:
    """Whether a path is a folder; raises `UserError` for a path that cannot be followed."""
    return kind_of(path, argument) == "folder"


def kind_of(path: Path, argument: str = "path") -> str | None:
    """What a path leads to: "file", "folder" or "device" (a pipe, a socket); None where nothing is there.

    Raises:
        UserError: it cannot be followed: links in a circle, no permission, a name that no file can have.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        rule, remedy = "be a path that can be followed", "check its links and its permissions"
        raise fail(argument, rule, f"{path} ({reason})", remedy) from error
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def expanded(path: Path, argument: str = "path") -> Path:
    """A path whose ~ is the home folder; raises `UserError` if there is no such folder."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        remedy = "write the path from the root"
        raise fail(argument, "name a home folder that is known", path, remedy) from error


def absolute(path: Path, argument: str = "path") -> Path:
    """A path from the root, with ~ as the home folder and links followed.

    Raises:
        UserError: there is no such home folder, or a link leads to itself.
    """
    try:
        return expanded(path, argument).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        remedy = "write the path from the root, without such links"
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
        size = path.stat().st_size
        with path.open("rb") as file:
            content = file.read(min(size, most) + 1)
    except OSError as error:
        raise unreadable(path, error, argument) from error
    if len(content) > most:
        found = f"{path} of {size:,} bytes"
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
