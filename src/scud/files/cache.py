"""Folders of the cache: what was made of a file once, named by a hash of the file's content and of all that it depends on.

The same file under another name is not read again, a changed one is. An entry is written by one process at a time, which holds
the lock `.NAME.lock`; another that wants the same entry waits for it. It is written as `.NAME.XXXXXXXX.tmp`, brought to the disk
with the checksums of its files (see `scud.files.checksums`), and renamed, so that an error or an interruption leaves nothing.
What a killed process leaves is removed when the next entry is written: the lock of its name says that nobody is writing it.
Who reads an entry compares it with its checksums and takes no lock; a damaged entry is made again.
"""

import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scud.errors import UserError, fail, printable
from scud.files.checksums import digest_of, fault, seal
from scud.files.locks import holding
from scud.files.opening import absolute
from scud.files.writing import sync_folder

_ELSEWHERE = "name another folder in the environment variable SCUD_CACHE"
_LOCK, _TEMPORARY = ".lock", ".tmp"
_BESIDE = re.compile(r"\.([0-9a-f]{32})(\.[0-9a-f]{8})?\.(lock|tmp)")


def default_cache() -> Path:
    """$SCUD_CACHE, or $XDG_CACHE_HOME/scud, or ~/.cache/scud.

    Raises:
        UserError: there is no home folder, or a path that cannot be followed.
    """
    for name, below in (("SCUD_CACHE", ""), ("XDG_CACHE_HOME", "scud")):
        given = os.environ.get(name)
        if given:
            return absolute(Path(given), name) / below
    try:
        return Path.home() / ".cache" / "scud"
    except RuntimeError as error:
        raise fail("the cache", "have a place", "no home folder", _ELSEWHERE) from error


def cached_folder(
    kind: str,
    key: object,
    write: Callable[[Path], None],
    cache: str | Path | None = None,
    *,
    what: str | None = None,
) -> Path:
    """The folder of a kind and a key; unless it is there and undamaged, `write` is called to fill it.

    Args:
        kind: of what is kept, the name of a folder of the cache.
        key: all that the content depends on, of lists, dictionaries, texts and numbers.
        write: fills a new folder.
        cache: the folder of all kinds; `default_cache()` if it is None.
        what: what is kept, in messages.

    Raises:
        UserError: the cache cannot be written, or whatever `write` raises.
    """
    root = default_cache() if cache is None else Path(cache)
    folder = root / kind / digest_of(key, 16)
    what = what or f"the {kind}"
    try:
        if not os.path.lexists(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        elif fault(folder) is None:
            _remove_lock(folder)
            return folder
        with holding(_lock_of(folder), f"{folder}, to write {what}") as held:
            wrong = fault(folder) if os.path.lexists(folder) else ""
            if wrong is None:  # made by the process that was waited for
                return folder
            if wrong:
                _warn(
                    f"the cache's copy of {what} cannot be used and is made again: {wrong} ({folder})"
                )
            if held:
                _remove_stale(folder)
            with _new_folder(folder, what) as temporary:
                write(temporary)
    except OSError as error:
        raise _refused(root, what, 0, error) from error
    return folder


@contextmanager
def _new_folder(target: Path, what: str) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place if the block ends without an error."""
    temporary = _temporary_of(target)
    try:
        temporary.mkdir()
        yield temporary
        seal(temporary)
        _put(temporary, target)
    except OSError as error:
        raise _refused(target.parent.parent, what, _size(temporary), error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, target: Path) -> None:
    """Let a folder take the place of another, if there is one; an undamaged one stays, as it is the same."""
    old = _temporary_of(target)
    try:
        if os.path.lexists(target) and fault(target) is not None:
            target.rename(old)
        try:
            temporary.rename(target)
        except OSError:
            if (
                fault(target) is not None
            ):  # if nothing is, a process without locks has just written it
                raise
        sync_folder(target.parent)
    finally:
        _remove(old)


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes have left beside a folder whose lock is held."""
    left: dict[Path, list[Path]] = {}
    for path in folder.parent.iterdir():
        found = _BESIDE.fullmatch(path.name)
        if found is not None:
            left.setdefault(folder.with_name(found[1]), []).append(path)
    for entry, paths in left.items():
        temporaries = [path for path in paths if path.suffix == _TEMPORARY]
        if entry == folder:
            _remove(*temporaries)
            continue
        try:
            with holding(_lock_of(entry)) as held:
                _remove(*(temporaries if held else []))
        except OSError:  # it is being written, or another user's: not ours to remove
            continue


def _remove_lock(folder: Path) -> None:
    """Remove the lock of an entry that is complete, where a process that was killed has left it."""
    with suppress(OSError):  # it is held, or in a cache that may only be read
        if _lock_of(folder).exists():
            with holding(_lock_of(folder)):
                pass


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_LOCK}")


def _temporary_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{_TEMPORARY}")


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _refused(root: Path, what: str, size: int, error: OSError) -> UserError:
    """The error of a cache that cannot be written to; `size` bytes were."""
    more = f" of more than {size:,} bytes" if size else ""
    found = f"{root} ({error.strerror or error}) for {what}{more}"
    return fail("the cache", "be a folder with room to write", found, f"make room, or {_ELSEWHERE}")


def _warn(line: str) -> None:
    warnings.warn(printable(line), stacklevel=3)
