"""Where pictures are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scud.errors import fail
from scud.files import replacing


@contextmanager
def picture_file(path: str | Path, suffix: str) -> Iterator[Path]:
    """A name to write a picture to, which takes the place of `path` only if the block ends without an error.

    Raises:
        UserError: `path` does not end in `suffix`, such as ".png", or its folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise fail("path", f"end in {suffix}", path, f"name it {path.with_suffix(suffix).name}")
    if not path.parent.is_dir():
        raise fail("path", "lie in a folder that exists", path, f"create {path.parent} first")
    with replacing(path) as temporary:
        yield temporary
