"""Folders of the kind that CARP and EvoDiff publish UniRef50 in.

`consensus.fasta` holds the sequences; `splits.json` says which records, counted from 0, are of which split: {"train": [...],
"valid": [...], "test": [...], ...}, other splits being left out here; `lengths_and_offsets.npz` holds the length of each record
(`ells`) and where its sequence begins (`seq_offsets`, not needed here). There are 42 million records: the numbers are read in
slices, and what is kept is one byte per record.
"""

import mmap
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from scud.data.sequences.fasta import Block
from scud.data.sequences.ingest import NO_SPLIT
from scud.data.splits import SPLITS
from scud.errors import UserError, fail
from scud.files.arrays import UNREADABLE

SEQUENCES, MEMBERS, LENGTHS = "consensus.fasta", "splits.json", "lengths_and_offsets.npz"
_SLICE = 1 << 22
_DEFLATED = 1032
"""Bytes that a byte of a gzip file stands for at most."""
_AGAIN = "download it again; it should hold an array `ells` of integers"
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_LIST = re.compile(rb'"([^"]*)"\s*:\s*\[([^\]]*)\]')


def folder_files(folder: Path) -> list[Path]:
    """The three files of such a folder.

    Raises:
        UserError: one is missing.
    """
    files = [folder / name for name in (SEQUENCES, MEMBERS, LENGTHS)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        rule, remedy = (
            f"hold {SEQUENCES}, {MEMBERS} and {LENGTHS}",
            "give a FASTA file, or a folder that has all three",
        )
        raise fail(f"the folder {folder}", rule, f"no {', no '.join(missing)}", remedy)
    return files


class GivenSplits:
    """Splits of records as a folder gives them; called with one block after another."""

    def __init__(
        self,
        folder: Path,
        split: NDArray[np.uint8],
        lengths: IO[bytes],
        dtype: np.dtype[np.integer],
    ) -> None:
        self.folder, self.split, self.before = folder, split, 0
        self._lengths, self._dtype = lengths, dtype

    def __call__(self, block: Block) -> NDArray[np.uint8]:
        """The split of each record of a block, [records].

        Raises:
            UserError: there are more records than lengths, or a length differs.
        """
        count = len(block.lengths)
        if self.before + count > len(self.split):
            raise self._disagree(f"more than {len(self.split)} records in {SEQUENCES}")
        given = self._next(count)
        wrong = np.flatnonzero(given != block.lengths)
        if len(wrong):
            i = int(wrong[0])
            value = f"length {given[i]} of record {self.before + i + 1} ({block.name(i)}), which has {block.lengths[i]}"
            raise self._disagree(value)
        self.before += count
        return self.split[self.before - count : self.before]

    def check_end(self) -> None:
        """Raise `UserError` unless every record has been seen."""
        if self.before != len(self.split):
            raise self._disagree(
                f"{self.before} records in {SEQUENCES} and {len(self.split)} lengths"
            )

    def _next(self, count: int) -> NDArray[np.integer]:
        """The lengths of so many records, [count]."""
        try:
            content = self._lengths.read(count * self._dtype.itemsize)
            return np.frombuffer(content, dtype=self._dtype, count=count)
        except UNREADABLE as error:
            raise _unreadable(self.folder / LENGTHS, error) from error

    def _disagree(self, value: str) -> UserError:
        return fail(
            str(self.folder / LENGTHS),
            f"agree with {SEQUENCES}",
            value,
            "download the folder again",
        )


@contextmanager
def given_splits(folder: Path) -> Iterator[GivenSplits]:
    """The splits of a folder, for one pass over its sequences.

    Raises:
        UserError: `splits.json` or `lengths_and_offsets.npz` is damaged, or a split names a record that is not there or is
            already in another.
    """
    path = folder / LENGTHS
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            stream = stack.enter_context(archive.open("ells.npy"))
            shape, _, dtype = _READ_HEADER[np.lib.format.read_magic(stream)](stream)
        except (*UNREADABLE, KeyError) as error:
            raise _unreadable(path, error) from error
        if len(shape) != 1 or dtype.kind not in "iu":
            found = f"{dtype} {list(shape)}"
            raise fail(str(path), "hold integers `ells` [records]", found, _AGAIN)
        _check_count(folder, shape[0])
        given = GivenSplits(folder, _read_members(folder / MEMBERS, shape[0]), stream, dtype)
        yield given
        given.check_end()


def _check_count(folder: Path, records: int) -> None:
    """Raise `UserError` for more records than a file of the size of the sequences can hold, before there is room for them."""
    path = folder / SEQUENCES
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    most = path.stat().st_size * (_DEFLATED if zipped else 1)
    if not 0 < records * len(">\nA") <= most:
        rule = f"have as many lengths as {SEQUENCES} has records"
        raise fail(str(folder / LENGTHS), rule, f"{records:,}", _AGAIN)


def _unreadable(path: Path, error: Exception) -> UserError:
    return fail(str(path), "be an undamaged .npz file", f"an error ({error})", _AGAIN)


def _read_members(path: Path, records: int) -> NDArray[np.uint8]:
    """The split of each record, [records]; NO_SPLIT where it is in none that is used."""
    split, found = np.full(records, NO_SPLIT, dtype=np.uint8), list[str]()
    if path.stat().st_size == 0:
        raise fail(str(path), "hold lists of record numbers", "an empty file", "download it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for match in _LIST.finditer(text):
            name = match[1].decode("utf-8", "replace")
            if name in found:
                raise fail(str(path), "hold each list once", f"{name} again", "download it again")
            found.append(name)
            if name in SPLITS:
                for index in _numbers(path, text, *match.span(2)):
                    _assign(path, name, split, index)
    if "train" not in found:
        rule = 'be a JSON file {"train": [0, 5, ...], "valid": [...], "test": [...]}'
        raise fail(
            str(path), rule, f"lists called {', '.join(found) or 'nothing'}", "download it again"
        )
    return split


def _assign(path: Path, name: str, split: NDArray[np.uint8], index: NDArray[np.int64]) -> None:
    """Put the records of these numbers into a split."""
    beyond = index[(index < 0) | (index >= len(split))]
    if len(beyond):
        raise fail(
            str(path),
            f"name records 0..{len(split) - 1}",
            f"{beyond[0]} in {name}",
            "download the folder again",
        )
    twice = index[split[index] != NO_SPLIT]
    if len(twice):
        raise fail(
            str(path),
            "name each record once",
            f"{twice[0]} in {name} again",
            "download the folder again",
        )
    split[index] = SPLITS.index(name)


def _numbers(path: Path, text: mmap.mmap, start: int, end: int) -> Iterator[NDArray[np.int64]]:
    """The numbers between commas in part of a text, a slice at a time."""
    while start < end:
        stop = text.find(b",", min(start + _SLICE, end), end)
        stop = end if stop < 0 else stop
        piece = text[start:stop].strip()
        start = stop + 1
        if piece:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "error", DeprecationWarning
                    )  # how numpy says that it met something else
                    yield np.fromstring(piece, dtype=np.int64, sep=",")
            except (ValueError, DeprecationWarning) as error:
                raise fail(
                    str(path),
                    "list whole numbers",
                    repr(piece[:40].decode("latin-1")),
                    "download it again",
                ) from error
