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
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


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


def _is_wide(data: bytes) -> bool:
    """Whether this looks like UTF-16 without a mark: every other byte is zero, as for Latin letters, and none between."""
    even, odd = data[:256:2], data[1:256:2]
    return len(data) >= 4 and (
        (_zero(even) and b"\0" not in odd) or (_zero(odd) and b"\0" not in even)
    )


def _zero(data: bytes) -> bool:
    return data.count(0) == len(data)


def _unified(path: Path, stream: BinaryIO | gzip.GzipFile, size: int, what: str) -> Iterator[bytes]:
    """Chunks of a stream without byte order mark and with \\n at line ends, none of them empty."""
    chunk = stream.read(size + len(_MARK)).removeprefix(_MARK)
    if chunk.startswith(_WIDE) or _is_wide(chunk):
        remedy = "convert it by: iconv -f utf-16 -t utf-8 FILE"
        raise fail(str(path), "be text in UTF-8", "UTF-16 or UTF-32", remedy)
    while chunk:
        if b"\0" in chunk:
            raise fail(
                str(path), "be text", "binary data", f"give {what}, plain or compressed with gzip"
            )
        while chunk.endswith(b"\r") and (following := stream.read(1)):
            chunk += following
        yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
        chunk = stream.read(size)
