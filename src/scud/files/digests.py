"""Digests of the content of files, which for large ones are noted in the cache: hashing 13 GB takes a minute, at every start.

`digests/NAME.json` in the cache is about the file whose path NAME is a digest of. It holds its size, its number in the file
system, when its content and when anything about it was changed last, to the nanosecond, and its digest. While all these are what
they were, the file is not read: no program can set the last of these times (on Windows that of its creation), so that a file
which is changed, copied or put back is read again. A digest is noted only where the file had not changed for a while, so that a
change within one tick of the clock does not escape.
"""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scud.errors import UserError, fail
from scud.files.cache import default_cache
from scud.files.checksums import digest_of
from scud.files.opening import absolute, read_text
from scud.files.structured import parse_json
from scud.files.writing import make_folder, write_text

NOTED = 64 << 20
"""Bytes from which on digests are noted: fewer are hashed in a moment."""

SETTLED = 2_000_000_000
"""Nanoseconds for which a file must not have changed: file systems count time in ticks of up to two seconds."""


def file_digest(file: Path, cache: str | Path | None = None) -> str:
    """A hash of a file's content.

    Args:
        file: the file.
        cache: the cache in which that of a large file is noted; `default_cache()` if it is None.

    Raises:
        UserError: it cannot be read.
    """
    try:
        about, begun = _about(file), time.time_ns()
        if about["size"] < NOTED:
            return hashed(file)
        root = default_cache() if cache is None else Path(cache)
        note = root / "digests" / f"{digest_of(str(absolute(file)), 16)}.json"
        known = _noted(note, about)
        if known is not None:
            return known
        digest = hashed(file)
        settled = max(about["modified"], about["changed"]) + SETTLED < begun
        if settled and about == _about(file):
            _note(note, about, digest)
    except OSError as error:
        raise fail(
            str(file), "be readable", f"an error ({error.strerror})", "check its permissions"
        ) from error
    return digest


def hashed(file: Path) -> str:
    """A hash of a file's content, which is read; raises `OSError` where it cannot be."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, hashlib.blake2b).hexdigest()


def _about(file: Path) -> dict[str, Any]:
    """What changes where a file does."""
    found = file.stat()
    return {
        "size": found.st_size,
        "number": found.st_ino,
        "modified": found.st_mtime_ns,
        "changed": found.st_ctime_ns,
    }


def _noted(note: Path, about: dict[str, Any]) -> str | None:
    """The digest that was noted of a file, if the note is whole and the file is as it was."""
    try:
        content = parse_json(read_text(note, "a note"), str(note), "remove it")
    except UserError:  # there is none, or it is damaged: the file says what it held
        return None
    digest, check = content.get("digest"), content.get("check")
    whole = isinstance(digest, str) and check == digest_of([about, digest])
    return digest if whole else None


def _note(note: Path, about: dict[str, Any], digest: str) -> None:
    """Note a digest, unless the cache may only be read: then the file is hashed again the next time."""
    content = {"digest": digest, "check": digest_of([about, digest]), **about}
    with suppress(UserError):
        make_folder(note.parent)
        write_text(note, json.dumps(content, indent=1) + "\n")
