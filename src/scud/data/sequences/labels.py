"""Class labels of the records of a FASTA file: from a table by name, or from their headers."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scud.data.labels import LabelTable, occurring, read_labels, sorted_names
from scud.data.sequences.fasta import Block
from scud.data.sequences.store import Labels, SequenceSet
from scud.errors import fail, printable
from scud.files.digests import file_digest

_USED = "used.bin"
"""Of a store: one byte for each line of a table of labels, 1 where it names a record."""

_NAME = re.compile(r"[^\s=]+")


class LabelSource(Labels, Protocol):
    """Where the labels of records come from; the names in headers become more as they are read."""

    @property
    def several(self) -> bool:
        """Whether a record may have several labels."""
        ...

    def report(self, stores: Iterable[Path], /) -> list[str]:
        """What of the labels is of no record of any of these stores, a line."""
        ...


class TableLabels:
    """Labels by the name of a record, which is the first word of its header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table: LabelTable = read_labels(path)
        self._place = {name: place for place, name in enumerate(self.table.of)}
        self._used = np.zeros(len(self._place), dtype=np.uint8)

    @property
    def names(self) -> tuple[str, ...]:
        return self.table.names

    @property
    def most(self) -> int:
        return self.table.most

    @property
    def several(self) -> bool:
        return self.table.several

    @property
    def key(self) -> list[str]:
        return ["table", file_digest(self.path)]

    def rows(self, block: Block) -> NDArray[np.int64]:
        names = [block.name(record) for record in range(len(block.lengths))]
        self._used[[self._place[name] for name in names if name in self._place]] = 1
        return self.table.rows(names)

    def finish(self, folder: Path) -> None:
        (folder / _USED).write_bytes(self._used.tobytes())
        self._used[:] = 0

    def report(self, stores: Iterable[Path]) -> list[str]:
        used = np.zeros(len(self._place), dtype=np.uint8)
        for folder in stores:
            used |= np.frombuffer((folder / _USED).read_bytes(), dtype=np.uint8)
        unused = [name for name, here in zip(self._place, used, strict=True) if not here]
        if not unused:
            return []
        listed = printable(", ".join(unused[:3])) + (", ..." if len(unused) > 3 else "")
        return [f"left out {len(unused):,} lines of the labels that name no record: {listed}"]


class HeaderLabels:
    """Labels that stand in headers, as in `>P1 bin=3`, whose label in the field bin is 3."""

    most = 1
    several = False

    def __init__(self, field: str) -> None:
        check_field(field)
        self.field = field
        self._pattern = re.compile(rf"(?:^|\s){re.escape(field)}=(\S+)")
        self._numbers: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    @property
    def key(self) -> list[str]:
        return ["field", self.field]

    def rows(self, block: Block) -> NDArray[np.int64]:
        rows = np.full((len(block.lengths), 1), -1, dtype=np.int64)
        for record in range(len(block.lengths)):
            found = set(self._pattern.findall(block.header(record)))
            if len(found) > 1:
                rule = f"hold {self.field}= once"
                raise fail(f"the header of {block.name(record)}", rule, sorted(found), "keep one")
            for label in found:
                rows[record] = self._numbers.setdefault(label, len(self._numbers))
        return rows

    def finish(self, folder: Path) -> None:
        """Nothing more is kept."""

    def report(self, stores: Iterable[Path]) -> list[str]:  # noqa: ARG002 - of other sources
        return []


def check_field(field: str) -> None:
    """Raise `UserError` unless a field of headers can be called so."""
    if not _NAME.fullmatch(field):
        remedy = "give bin for headers such as >P1 bin=3"
        raise fail("data.label_field", "be a word without = in it", repr(field), remedy)


def label_source(table: Path | None, field: str | None) -> LabelSource | None:
    """The labels that are asked for.

    Raises:
        UserError: both are given, or a file or field is not as it should be.
    """
    if table is not None and field is not None:
        name = "data.labels and data.label_field"
        raise fail(name, "not be given together", "both", "drop one of them")
    if table is not None:
        return TableLabels(table)
    return None if field is None else HeaderLabels(field)


def with_labels(
    splits: Mapping[str, SequenceSet], source: LabelSource
) -> tuple[tuple[str, ...], dict[str, SequenceSet]]:
    """Names of the labels that occur in any split, in order, and the splits with their numbers.

    Raises:
        UserError: no record has a label.
    """
    written = {name: part.stored_labels() for name, part in splits.items()}
    every: dict[str, int] = {}
    for own, _ in written.values():
        for name in own:
            every.setdefault(name, len(every))
    ordered = tuple(every) if source.several else sorted_names(every)
    place = {name: number for number, name in enumerate(ordered)}
    numbers = {
        split: np.array([*(place[name] for name in own), -1], dtype=np.int64)
        for split, (own, _) in written.items()
    }
    used = [numbers[split][_occur(labels, len(own))] for split, (own, labels) in written.items()]
    names, final = occurring(ordered, used)
    if not names:
        kind, what = source.key[0], source.key[1]
        if kind == "field":
            remedy = f"write headers such as >P1 {what}=3, or give a table by --data.labels"
            raise fail("data.label_field", "stand in the header of a record", what, remedy)
        remedy = "its first column holds names of records, the first word of a header"
        raise fail("data.labels", "name records of the data", "none of them", remedy)
    return names, {name: part.labelled(final[numbers[name]]) for name, part in splits.items()}


def _occur(labels: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Which of so many labels occur, and at the end whether -1 does, [count + 1]."""
    found = np.zeros(count + 1, dtype=np.bool_)
    found[labels.ravel()] = True
    return found
