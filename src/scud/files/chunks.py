"""Text files, plain or gzip, as chunks of bytes.

The two are told apart by the first two bytes. Line ends of any system become \\n, and a byte order mark is left out.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scud.errors import fail
from scud.files.opening import check_file

_GZIP = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"


def read_chunks(path: Path, size: int, what: str) -> Iterator[bytes]:
    """The text of a file with \\n at line ends, about `size` bytes at a time; none of the chunks is empty.

    Raises:
        UserError: there is no such file, it cannot be read, it is a damaged gzip file, or it holds binary data; `what` says
            what to give instead.
    """
    check_file(path, what)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if zipped else raw as stream:
                yield from _unified(path, stream, size, what)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise fail(
            str(path),
            "be an undamaged gzip file",
            f"an error ({error})",
            "copy or download it again",
        ) from error
    except OSError as error:
        raise fail(
            str(path),
            "be readable",
            f"an error ({error.strerror})",
            "check its permissions and disk",
        ) from error


def _unified(path: Path, stream: BinaryIO | gzip.GzipFile, size: int, what: str) -> Iterator[bytes]:
    """Chunks of a stream without byte order mark and with \\n at line ends, none of them empty."""
    chunk = stream.read(size + len(_MARK)).removeprefix(_MARK)
    while chunk:
        if b"\0" in chunk:
            raise fail(
                str(path), "be text", "binary data", f"give {what}, plain or compressed with gzip"
            )
        while chunk.endswith(b"\r") and (following := stream.read(1)):
            chunk += following
        yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
        chunk = stream.read(size)
