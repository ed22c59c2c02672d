"""Text, a piece at a time: from files of UTF-8, plain or gzip, and from the column `text` of tables.

A line break is \\n whatever the system; each row of a table ends with one. A piece is about 2^20 characters; where whole lines
are asked for it ends with a line break, so that a longer line is one piece.
"""

import codecs
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from scud.data.tables import Table
from scud.data.text.tokenizers import Piece
from scud.errors import fail
from scud.files import check_file
from scud.files.chunks import read_chunks

PIECE = 1 << 20
"""Bytes or characters of text read at once."""

COLUMN = "text"
"""The column of a table that holds text."""

LINE = 1 << 20
"""Characters of a line, where whole lines are asked for."""

ROW = 1 << 24
"""Bytes of a row of a table."""

ENDINGS = (".txt", ".txt.gz", ".parquet")
"""How names of text files end; a name without an ending, such as text8, is one of plain text."""

_WHAT = "a text file"


def check_text_file(path: Path) -> None:
    """Raise `UserError` unless a file exists and its name is one of a text file."""
    check_file(path, _WHAT)
    if path.suffix and not path.name.lower().endswith(ENDINGS):
        remedy = "rename it if it is plain text (UTF-8), or convert it"
        raise fail("a text file", f"end in {' or '.join(ENDINGS)}", path, remedy)


def file_pieces(path: Path, *, whole_lines: bool) -> Iterator[Piece]:
    """The pieces of a text file.

    Raises:
        UserError: the file is missing, damaged, binary or not UTF-8; the message names the line and the byte.
    """
    return _pieces(str(path), _decoded(path), whole_lines=whole_lines)


def table_pieces(table: Table, *, whole_lines: bool) -> Iterator[Piece]:
    """The pieces of a table's column of text.

    Raises:
        UserError: there is no such column, or a row has no text.
    """
    import pyarrow as pa

    names = table.schema.names
    kind = table.schema.field(COLUMN).type if COLUMN in names else None
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        found = f"columns {', '.join(names)}" if kind is None else f"a column text of {kind}"
        raise fail(
            table.name,
            "have a column text of strings",
            found,
            "rename the column that holds the text",
        )
    return _pieces(table.name, _rows(table), whole_lines=whole_lines)


def _decoded(path: Path) -> Iterator[str]:
    """The text of a file."""
    rest, line, column = b"", 1, 1  # of the first byte of the rest, which begins a character
    for chunk in chain(read_chunks(path, PIECE, _WHAT), [b""]):
        data = rest + chunk
        try:
            text, used = codecs.utf_8_decode(data, "strict", not chunk)
        except UnicodeDecodeError as error:
            line, column = _advance(line, column, data[: error.start])
            found = f"byte 0x{data[error.start]:02x}, byte {column} of line {line}"
            remedy = "convert it, if it is Latin-1 by: iconv -f latin1 -t utf-8 FILE"
            raise fail(str(path), "be UTF-8", found, remedy) from error
        line, column = _advance(line, column, data[:used])
        rest = data[used:]
        yield text


def _advance(line: int, column: int, data: bytes) -> tuple[int, int]:
    """Line and byte of a line, counted from 1, after some more bytes."""
    breaks = data.count(b"\n")
    return line + breaks, len(data) - data.rfind(b"\n") if breaks else column + len(data)


def _rows(table: Table) -> Iterator[str]:
    """The text of a table's rows, a batch of rows at a time."""
    for where, read in table.columns.items():
        for part in read(COLUMN):
            if part.null_count:
                raise fail(
                    f"text in {where}",
                    "be there in every row",
                    f"{part.null_count} rows without",
                    "remove these",
                )
            yield from _joined(_row(value, where) for value in part)


def _row(value: Any, where: str) -> str:
    """The text of a row, which ends with a line break; a value of pyarrow is decoded here."""
    if len(value.as_buffer()) > ROW:
        found = f"one of {len(value.as_buffer()):,}"
        raise fail(f"text in {where}", f"have rows of at most {ROW:,} bytes", found, "divide it")
    try:
        text: str = value.as_py()
    except UnicodeDecodeError as error:
        remedy = "write the table again from text"
        raise fail(f"text in {where}", "be UTF-8", f"a row with {error.reason}", remedy) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n") + "\n"


def _joined(rows: Iterator[str]) -> Iterator[str]:
    """Rows in pieces."""
    waiting, size = list[str](), 0
    for row in rows:
        waiting.append(row)
        size += len(row)
        if size >= PIECE:
            text = "".join(waiting)
            yield from (text[start : start + PIECE] for start in range(0, size, PIECE))
            waiting, size = [], 0
    if size:
        yield "".join(waiting)


def _pieces(name: str, texts: Iterator[str], *, whole_lines: bool) -> Iterator[Piece]:
    """Texts that follow one another, as pieces."""
    line, pending = 0, list[str]()
    for text in texts:
        cut = text.rfind("\n") + 1 if whole_lines else len(text)
        if cut:
            whole = "".join([*pending, text[:cut]])
            yield Piece(whole, name, line)
            line += whole.count("\n")
            pending = []
        if cut < len(text):
            pending.append(text[cut:])
            if sum(len(part) for part in pending) > LINE:
                found = f"{LINE:,} and more in line {line + 1}"
                remedy = "break it into lines, as: fold -s -w 10000 FILE"
                rule = "have lines of fewer characters for tokens that are parts of words"
                raise fail(name, rule, found, remedy)
    if pending:
        yield Piece("".join(pending), name, line)
