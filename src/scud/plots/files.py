"""Writing a picture so that a failure half way loses nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import BinaryIO

from scud.errors import fail


@contextmanager
def replacing(path: str | Path, suffix: str) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` only if the block ends without an error.

    Until then it has a temporary name in the same folder. `path` must end in `suffix`, such as ".png".
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise fail("path", f"end in {suffix}", path, f"name it {path.with_suffix(suffix).name}")
    if not path.parent.is_dir():
        raise fail("path", "lie in a folder that exists", path, f"create {path.parent} first")
    temporary = path.with_name(f".{path.name}.{getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
