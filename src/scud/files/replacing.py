"""Writing files so that a failure half way loses nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what was written there takes its place if the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
