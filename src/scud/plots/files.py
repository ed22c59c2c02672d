"""Where pictures are written."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from scud.errors import fail
from scud.files import writing


@contextmanager
def picture_file(path: str | Path, suffix: str) -> Iterator[BinaryIO]:
    """A file in memory to write a picture to, which takes the place of `path` only if the block ends without an error.

    Raises:
        UserError: `path` does not end in `suffix`, such as ".png", or its folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise fail("path", f"end in {suffix}", path, f"name it {path.with_suffix(suffix).name}")
    if not path.parent.is_dir():
        raise fail("path", "lie in a folder that exists", path, f"create {path.parent} first")
    picture = io.BytesIO()
    yield picture
    with writing(path) as file:
        file.write(picture.getvalue())
