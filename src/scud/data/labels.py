"""Class labels: names, kept in order, and the numbers of those that an example has.

Label k of an example stands for `names[k]`; -1 says that there is none. Labels that are numbers
are in the order of their values, texts in that of their characters.

A file of labels is a table (TSV or CSV, plain or gzip) with a header. Its first column holds names
of records, and the others one of these:

- one column: the label of each record, an empty cell where there is none;
- several columns of 0 and 1, one for each label, 1 where the record has it: several labels for a
  record, in the order of the header. A single cell of as many digits does as well.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail
from scud.files.chunks import read_chunks
from scud.files.memory import check_read

_CHUNK = 1 << 22
_MOST = 1 << 28
_DIGITS = 300  # of a number by which labels are sorted; longer ones are texts
_ARGUMENT = "data.labels"
_REMEDY = "give a header, then a line for each record: its name, and its label"
_SEVERAL = "write 1 where a record has the label of a column, and 0 where not"


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of records by name.

    Attributes:
        names: of the labels, in order.
        of: the numbers of each record's labels.
        several: whether a record may have more than one.
        header: the first cell of the header.
    """

    names: tuple[str, ...]
    of: Mapping[str, tuple[int, ...]]
    several: bool
    header: str = ""

    @property
    def most(self) -> int:
        """The most labels that a record has, at least 1."""
        return max([1, *(len(labels) for labels in self.of.values())])

    def rows(self, records: Sequence[str]) -> NDArray[np.int64]:
        """Labels [records, most] of records by name; -1 where there is none.

        Raises:
            UserError: a record is called as the first cell of the header, so there is no header.
        """
        if self.header and self.header in records:
            found = f"{self.header!r}, a record of the data, in its first cell"
            remedy = "give the table a header whose first cell is no record's name"
            raise fail(_ARGUMENT, "begin with a header", found, remedy)
        what = f"{len(records):,} records of up to {self.most:,} labels each"
        check_read(_ARGUMENT, 8 * len(records) * self.most, what, "give fewer labels")
        rows = np.full((len(records), self.most), -1, dtype=np.int64)
        for row, record in zip(rows, records, strict=True):
            labels = self.of.get(record, ())
            row[: len(labels)] = labels
        return rows


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Different names in order: by value where all are whole numbers, else as texts."""
    different = set(names)
    if all(_is_number(name) for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def label_of(names: Sequence[str], text: str) -> int:
    """The number of the label called `text`.

    Raises:
        UserError: no label is called so; the message lists those that there are.
    """
    if text in names:
        return list(names).index(text)
    if not names:
        raise fail("label", "be given for a model with labels", repr(text), "leave it out")
    raise fail("label", f"be one of {_shown(names)}", repr(text), "choose one of these")


def number_labels(
    values: Sequence[NDArray[np.int64] | NDArray[np.str_] | None],
) -> tuple[tuple[str, ...], list[NDArray[np.int64] | None]]:
    """Names of the labels that occur in several splits, and the numbers of each split's labels.

    Args:
        values: labels [N] of each split: whole numbers, -1 where there is none, or texts; None
            where a split has none.

    Returns:
        The names, and for each split numbers [N], -1 where there is no label.
    """
    texts = [None if part is None else np.unique(part, return_inverse=True) for part in values]
    present = [part[0] for part in texts if part is not None]
    different = {name for part in present for name in _names_of(part)} - {""}
    numeric = all(part.dtype.kind != "U" for part in present)
    names = sorted_names(different) if numeric else tuple(sorted(different))
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    numbers: list[NDArray[np.int64] | None] = []
    for part in texts:
        if part is None:
            numbers.append(None)
            continue
        unique, inverse = part
        table = np.array([place[name] for name in _names_of(unique)], dtype=np.int64)
        numbers.append(table[inverse])
    return names, numbers


def checked_labels(
    name: str, array: NDArray[Any], count: int
) -> NDArray[np.int64] | NDArray[np.str_]:
    """Class labels [count] of an array called `name`, numbers or texts; [count, 1] does as well.

    Raises:
        UserError: it is of another type or shape.
    """
    if array.dtype.kind not in "iuU":
        remedies = {"S": "convert it with .astype(str)", "O": "write numbers, or texts"}
        remedy = remedies.get(array.dtype.kind, "convert it with .astype(np.int64)")
        raise fail(name, "hold integers or texts", array.dtype, remedy)
    if array.shape not in ((count,), (count, 1)):
        remedy = "give one label per example, such as y.argmax(1) of rows with a single 1, or leave it out"
        raise fail(name, f"have shape [{count}]", list(array.shape), remedy)
    label = array.reshape(count)
    if array.dtype.kind == "U":
        return label
    if count and int(label.max()) >= 1 << 63:
        raise fail(name, "hold integers below 2^63", label.max(), "number the classes from 0 on")
    return label.astype(np.int64)


def classes_line(names: Sequence[str]) -> list[str]:
    """The line that names the classes that were read, if there are any."""
    return [f"classes: {_shown(names)}"] if names else []


def occurring(
    names: Sequence[str], parts: Sequence[NDArray[np.int64]]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Of the names of labels, those that occur; and the new number of each, [labels + 1].

    The last of the numbers is -1, so that they also say what becomes of the label -1.
    """
    seen = np.zeros(len(names), dtype=np.bool_)
    for part in parts:
        seen[part[part >= 0]] = True
    numbers = np.append(np.where(seen, np.cumsum(seen) - 1, -1), -1)
    return tuple(name for name, here in zip(names, seen, strict=True) if here), numbers


def read_labels(path: Path) -> LabelTable:
    """The labels in a file, as the module says.

    Raises:
        UserError: no such file, not a table, a record that is there twice, or a cell that is not
            as it should be; the line is named.
    """
    header, rows = _read_table(path)
    of: dict[str, tuple[str, ...]] = {}
    for line, row in rows:
        place = f"line {line} of {path}"
        name = row[0].strip()
        if not name:
            raise fail(place, "begin with the name of a record", "an empty cell", _REMEDY)
        if name in of:
            raise fail(place, "name a record that no other line names", repr(name), "remove one")
        of[name] = tuple(cell.strip() for cell in row[1:])
    columns = [cell.strip() for cell in header[1:]]
    if len(columns) == 1:
        names = sorted_names(cells[0] for cells in of.values() if cells[0])
        if not names:
            raise fail(_ARGUMENT, "name at least one label", f"empty cells in {path}", _REMEDY)
        place_of = {name: number for number, name in enumerate(names)}
        single = {name: (place_of[cells[0]],) if cells[0] else () for name, cells in of.items()}
        return LabelTable(names, single, several=False, header=header[0].strip())
    if len(set(columns)) < len(columns) or "" in columns:
        raise fail(f"the header of {path}", "name each label once", columns, "rename the columns")
    several = {name: _marked(path, name, cells, len(columns)) for name, cells in of.items()}
    return LabelTable(tuple(columns), several, several=True, header=header[0].strip())


def _marked(path: Path, name: str, cells: tuple[str, ...], count: int) -> tuple[int, ...]:
    """Where the cells of a record are 1."""
    marks = "".join(cells)
    if len(marks) != count or set(marks) - {"0", "1"}:
        rule = f"hold {count} cells of 0 and 1, one for each label of the header"
        raise fail(f"{name} in {path}", rule, ", ".join(cells), _SEVERAL)
    return tuple(place for place, mark in enumerate(marks) if mark == "1")


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a table, and its other rows, each with the number of its (last) line."""
    chunks, size = list[bytes](), 0
    for chunk in read_chunks(path, _CHUNK, "a table of labels (TSV or CSV)"):
        size += len(chunk)
        if size > _MOST:
            rule = f"hold at most {_MOST:,} bytes"
            raise fail(_ARGUMENT, rule, f"{path} with more", "give names and labels alone")
        chunks.append(chunk)
    text = b"".join(chunks)
    try:
        lines = text.decode("utf-8").split("\n")
        delimiter = "\t" if "\t" in lines[0] else ","
        reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        remedy = "save the table as TSV or CSV in UTF-8"
        raise fail(
            _ARGUMENT, "be a TSV or CSV file in UTF-8", f"{path} ({error})", remedy
        ) from None
    if len(rows) < 2 or len(rows[0][1]) < 2:
        found = f"{len(rows)} lines in {path}" if len(rows) < 2 else f"{rows[0][1]} in {path}"
        raise fail(_ARGUMENT, "have a header of two columns or more, and records", found, _REMEDY)
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) not in (2, len(header)):
            rule = f"have as many cells as the header, {len(header)}"
            raise fail(f"line {line} of {path}", rule, len(row), "quote what holds a separator")
    return header, rows[1:]


def _names_of(values: NDArray[Any]) -> list[str]:
    """Labels as texts; an empty one where there is none."""
    if values.dtype.kind == "U":
        return [str(value) for value in values]
    return ["" if value == -1 else str(value) for value in values.tolist()]


def _is_number(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and len(digits) <= _DIGITS


def _shown(names: Sequence[str], most: int = 20) -> str:
    """Names as a message lists them."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed}, … ({len(names)} in all)"
