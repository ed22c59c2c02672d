"""Folders of the cache: what was made of a file once, named by a hash of the file's content and of all that it depends on.

The same file under another name is not read again, a changed one is. A folder is written beside its final place and renamed
when it is complete, so an error or an interruption leaves nothing.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scud.errors import fail


def default_cache() -> Path:
    """$SCUD_CACHE, or $XDG_CACHE_HOME/scud, or ~/.cache/scud.

    Raises:
        UserError: none of these is set, and the user has no home.
    """
    if os.environ.get("SCUD_CACHE"):
        return Path(os.environ["SCUD_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "scud"
    try:
        return Path.home() / ".cache" / "scud"
    except RuntimeError as error:  # HOME is not set, and the account has no name
        remedy = "name a folder in the environment variable SCUD_CACHE"
        raise fail("the cache", "have a place", "no home folder", remedy) from error


def file_digest(file: Path) -> str:
    """A hash of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, hashlib.blake2b).hexdigest()
    except OSError as error:
        raise fail(
            str(file), "be readable", f"an error ({error.strerror})", "check its permissions"
        ) from error


def cached_folder(
    kind: str, key: object, write: Callable[[Path], None], cache: str | Path | None = None
) -> Path:
    """The folder of a kind and a key; unless it is there, `write` is called to fill it.

    Args:
        kind: of what is kept, the name of a folder of the cache.
        key: all that the content depends on, of lists, dictionaries, texts and numbers.
        write: fills a new folder.
        cache: the folder of all kinds; `default_cache()` if it is None.

    Raises:
        UserError: the cache cannot be written, or whatever `write` raises.
    """
    root = default_cache() if cache is None else Path(cache)
    name = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    folder = root / kind / name
    if not folder.is_dir():
        try:
            with _new_folder(folder) as temporary:
                write(temporary)
        except OSError as error:
            remedy = "name another folder in the environment variable SCUD_CACHE"
            raise fail(
                "the cache", "be a folder with room to write", f"{root} ({error.strerror})", remedy
            ) from error
    return folder


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place if the block ends without an error."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # if it is, another process has just read the same file
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
