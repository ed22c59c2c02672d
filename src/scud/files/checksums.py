"""Checksums of the files of a folder: what was written is what is read, or the difference is told.

`checksums.json` holds the size and the digest (blake2b) of every file of the folder, and of a file above 64 MB also the digest of
64 blocks of 1 MB that are spread evenly over it, the first and the last one included. `fault` compares all sizes; the digests of
files up to 64 MB; and of larger ones those of the 64 blocks, so that opening a large store takes a fraction of a second. So a
file of another size is always noticed, and any change of a file up to 64 MB; a change of a few bytes in a larger one may not be.
Hidden files are none of the folder's.
"""

import hashlib
import json
import os
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

from scud.errors import UserError
from scud.files.opening import read_text
from scud.files.structured import parse_json
from scud.files.writing import sync_folder

NAME = "checksums.json"
"""Of the file that holds the checksums of the others."""

WHOLE = 64 << 20
"""Bytes of a file that is read as a whole to be compared."""

BLOCKS, BLOCK = 64, 1 << 20
"""Of a larger file: how many blocks are read, and their size."""

Record = dict[str, Any]
"""Of a file: its size, digest, and where it is large sample."""


def seal(folder: Path) -> None:
    """Bring the files of a folder, and their checksums, to the disk.

    Raises:
        OSError: the disk refuses.
    """
    files = {str(path.relative_to(folder).as_posix()): _record(path) for path in _files(folder)}
    content = {"files": files, "digest": digest_of(files)}
    with (folder / NAME).open("wb") as file:
        file.write(json.dumps(content, indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            sync_folder(path)


def fault(folder: Path) -> str | None:
    """What is wrong with the files of a folder, in a few words; None: nothing is."""
    try:
        if not (folder / NAME).exists():
            return f"no {NAME}, as in earlier versions" if folder.is_dir() else "no folder"
        recorded = _recorded(folder)
        found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        different = sorted(set(recorded) ^ set(found))
        if different:
            return f"{different[0]} is {'missing' if different[0] in recorded else 'not its own'}"
        for name, record in recorded.items():
            if found[name].stat().st_size != record["size"]:
                return f"{name} has another size"
            part = "digest" if record["size"] <= WHOLE else "sample"
            with found[name].open("rb") as file:
                same = _digest(file, part, record["size"]) == record[part]
            if not same:
                return f"{name} has changed"
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"an error ({error.strerror or error})"
    return None


def recorded_digest(folder: Path, name: str) -> str:
    """The digest of a file of a folder, as it was when it was written.

    Raises:
        UserError: the folder has no such record.
    """
    digest: str = _recorded(folder).get(name, {}).get("digest", "")
    if not digest:
        raise UserError(f"{folder / NAME} does not name {name}: remove {folder}, and run again")
    return digest


def digest_of(value: object, size: int = 32) -> str:
    """A digest of so many bytes of lists, dictionaries, texts and numbers."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=size).hexdigest()


def _recorded(folder: Path) -> dict[str, Record]:
    """The records of the files of a folder by name; raises `UserError` where they are not as they were written."""
    text = read_text(folder / NAME, "a file of checksums")
    content = parse_json(text, NAME, "remove the folder")
    files = content.get("files")
    if not isinstance(files, dict) or content.get("digest") != digest_of(files):
        raise UserError(f"{NAME} has changed")
    return files


def _files(folder: Path) -> list[Path]:
    """The files of a folder and of those in it, in order, without hidden ones and the checksums."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != NAME and not path.name.startswith(".")
    )


def _record(path: Path) -> Record:
    """The checksums of a file that has just been written, which is brought to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        size = path.stat().st_size
        record = {"size": size, "digest": _digest(file, "digest", size)}
        if size > WHOLE:
            record["sample"] = _digest(file, "sample", size)
    return record


def _digest(file: BufferedReader | BufferedRandom, part: str, size: int) -> str:
    """The digest of an open file ("digest"), or of some blocks of it ("sample")."""
    file.seek(0)
    if part == "digest":
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    digest = hashlib.blake2b()
    for number in range(BLOCKS):
        file.seek((size - BLOCK) * number // (BLOCKS - 1))
        digest.update(file.read(BLOCK))
    return digest.hexdigest()
