"""Sequences on their way from a FASTA file into a store: which are kept, cut or dropped, where they go, and what is written.

Length. A sequence shorter than `min_length` is dropped. One of length L > `max_length` is dropped, or cut into n = ceil(L /
max_length) parts, the first L mod n of length floor(L / n) + 1 and the others of floor(L / n): every residue is in one part.
Each part is an example of its own, in the split of its sequence. An example without a known residue is dropped.

Split. A sequence x_0 ... x_(L-1) is held out where the upper 53 bits of mix(sum_i T[x_i, i mod 4096] + c L) fall below
`valid_share` 2^53. T holds random 64-bit numbers, sums are mod 2^64, mix is the finaliser of splitmix64. So what is held out
depends on the sequence alone: not on its name, its place in the file, or the machine; and equal sequences are in one split.

Files of a split, written as the text streams past: `residues.bin` (one byte each), `offsets.npy` (int64 [N+1]), `by_length.npy`
(uint32 [N], examples by length, those of one length in the order of the file), `length_counts.npy` (int64 [longest + 1]) and
`summary.json`; and where records have class labels `labels.bin` (int32 [N, most], -1 where there is none). The order by length
is a counting sort, a slice of examples at a time.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scud.data.sequences.accounts import Tally, seems
from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.fasta import Block, count_bytes
from scud.data.splits import SPLITS
from scud.errors import check_choice, check_in_interval, fail

NO_SPLIT = 255
"""The number of no split: what is not used."""

LONGEST = 1 << 20
"""The greatest `max_length`: tables of lengths have one entry per length."""

_TABLE_SEED = 20250608
_PERIOD = 4096
_SLICE = 1 << 18
_AT_ONCE = 1 << 23
_HEADER = 128


@dataclass(frozen=True)
class StoreOptions:
    """What becomes of sequences.

    Attributes:
        min_length: shorter sequences are dropped.
        max_length: longer sequences are cut or dropped; no example is longer.
        long: "cut" or "drop".
        valid_share: share of sequences that is held out for validation, in [0, 1).

    Raises:
        UserError: an option is out of its range.
    """

    min_length: int = 1
    max_length: int = 1024
    long: Literal["cut", "drop"] = "cut"
    valid_share: float = 0.0

    def __post_init__(self) -> None:
        check_in_interval("max_length", self.max_length, 1, LONGEST, "1024 is the default")
        check_in_interval(
            "min_length", self.min_length, 1, self.max_length, "choose 1 to keep short sequences"
        )
        check_choice("long", self.long, ("cut", "drop"))
        check_in_interval("valid_share", self.valid_share, 0, 1, "choose 0.05, say", open_high=True)


class RecordLabels(Protocol):
    """Class labels of records: their names by number, and the most that one record has."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def most(self) -> int: ...

    def rows(self, block: Block, /) -> NDArray[np.int64]:
        """The labels of the records of a block, [records, most]; -1 where there is none."""
        ...


class Assign(Protocol):
    """The split of each record of a block, [records] uint8; NO_SPLIT for those that are not used."""

    def __call__(self, block: Block, /) -> NDArray[np.uint8]: ...


def hash_split(valid_share: float, num_states: int) -> Assign:
    """Hold out a share of the sequences, chosen by what they are."""
    limit = round(valid_share * 2**53)

    def assign(block: Block) -> NDArray[np.uint8]:
        if not limit:
            return np.zeros(len(block.lengths), dtype=np.uint8)
        return (
            sequence_keys(block.codes, block.lengths, num_states) >> np.uint64(11) < limit
        ).astype(np.uint8)

    return assign


def sequence_keys(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], num_states: int
) -> NDArray[np.uint64]:
    """A 64-bit hash of each of several sequences, [records], as the module says; lengths must be positive."""
    raw = np.random.PCG64(_TABLE_SEED).random_raw((num_states + 1) * _PERIOD)
    table = np.asarray(raw, dtype=np.uint64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    keys = lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for low in range(0, len(codes), _SLICE):  # slices that fit the cache
        high = min(low + _SLICE, len(codes))
        here = slice(np.searchsorted(ends, low, side="right"), np.searchsorted(starts, high))
        first, last = starts[here].clip(low), ends[here].clip(max=high)
        place = (np.arange(low, high) - np.repeat(starts[here], last - first)) % _PERIOD
        keys[here] += np.add.reduceat(
            table[codes[low:high].astype(np.int64) * _PERIOD + place], first - low
        )
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def ingest(
    folder: Path,
    blocks: Iterator[Block],
    assign: Assign,
    alphabet: Alphabet,
    options: StoreOptions,
    labels: RecordLabels | None = None,
) -> tuple[Tally, dict[str, int]]:
    """Write a store of each split that has examples into a folder: what was read, and examples by split."""
    tally, written = Tally(), np.zeros(256, dtype=np.int64)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_Writer(folder / name, options.max_length)) for name in SPLITS
        ]
        for block in blocks:
            split = assign(block)
            tally.records += len(split)
            written += block.written
            lengths, split, parts = _examples(block, split, alphabet.num_states, options, tally)
            rows = None if labels is None else np.repeat(labels.rows(block), parts, axis=0)
            for number, writer in enumerate(writers):
                chosen = split == number
                for codes, some in _chosen(block.codes, lengths, chosen):
                    writer.add(codes, some)
                if rows is not None and chosen.any():
                    writer.add_labels(rows[chosen])
            del block  # before the next one is read
    tally.add_letters(alphabet, written)
    seen = seems(alphabet, written)
    for writer in writers:
        writer.finish(alphabet, options, tally, labels, seen)
    return tally, {writer.folder.name: writer.examples for writer in writers}


def _examples(
    block: Block, split: NDArray[np.uint8], num_states: int, options: StoreOptions, tally: Tally
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """The examples of a block, dropped ones included; together they are all its residues, in order.

    Returns:
        Length and split of each example, and how many examples each record gave.
    """
    used = split != NO_SPLIT
    short, long = (
        used & (block.lengths < options.min_length),
        used & (block.lengths > options.max_length),
    )
    cut = long if options.long == "cut" else np.zeros_like(long)
    dropped = short | (long & ~cut)
    parts = np.where(cut, -(-block.lengths // options.max_length), 1)
    tally.unused += int((~used).sum())
    tally.short += int(short.sum())
    tally.long += int((long & ~cut).sum())
    tally.cut += int(cut.sum())
    tally.parts += int(parts[cut].sum())
    size, rest = np.divmod(block.lengths, parts)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    lengths = np.repeat(size, parts) + (number < np.repeat(rest, parts))
    split = np.repeat(np.where(dropped, np.uint8(NO_SPLIT), split), parts)
    if block.codes.max() == num_states:  # the code of an unknown residue, which is the largest
        blank = np.minimum.reduceat(block.codes, np.cumsum(lengths) - lengths) == num_states
        tally.blank += int((blank & (split != NO_SPLIT)).sum())
        split[blank] = NO_SPLIT
    return lengths, split, parts


def _chosen(
    codes: NDArray[np.uint8], lengths: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Codes and lengths of the chosen ones of the examples that codes are, some of these at a time."""
    ends = np.append(0, np.cumsum(lengths))
    steps = np.arange(_AT_ONCE, ends[-1], _AT_ONCE)
    edges = np.unique([0, *np.searchsorted(ends[1:], steps, side="right"), len(lengths)])
    for first, last in pairwise(edges.tolist()):
        here = chosen[first:last]
        if here.any():
            part = codes[ends[first] : ends[last]]
            some = lengths[first:last]
            yield (part if here.all() else part[np.repeat(here, some)]), some[here]


class _Writer:
    """The files of one split, open for writing; a split that gets no example leaves nothing."""

    def __init__(self, folder: Path, max_length: int) -> None:
        self.folder, self.examples, self.residues = folder, 0, 0
        self.length_counts = np.zeros(max_length + 1, dtype=np.int64)
        self.code_counts = np.zeros(256, dtype=np.int64)

    def __enter__(self) -> "_Writer":
        self.folder.mkdir()
        self._residues = (self.folder / "residues.bin").open("wb")
        self._offsets = (self.folder / "offsets.npy").open("wb")
        self._offsets.write(bytes(_HEADER) + bytes(8))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._residues, self._offsets:
            if kind is None:
                self._offsets.seek(0)
                self._offsets.write(_npy_header("<i8", self.examples + 1))

    def add(self, codes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> None:
        """Write examples of these lengths, the codes of one after those of another."""
        self._residues.write(codes.data)
        self._offsets.write((self.residues + np.cumsum(lengths)).astype("<i8").data)
        self.examples += len(lengths)
        self.residues += len(codes)
        self.length_counts += np.bincount(lengths, minlength=len(self.length_counts))
        self.code_counts += count_bytes(codes)

    def add_labels(self, rows: NDArray[np.int64]) -> None:
        """Write the labels [examples, most] of the examples that were just added."""
        with (self.folder / "labels.bin").open("ab") as file:
            file.write(rows.astype("<i4").data)

    def finish(
        self,
        alphabet: Alphabet,
        options: StoreOptions,
        tally: Tally,
        labels: RecordLabels | None,
        seen: str,
    ) -> None:
        """Write what can be known only at the end."""
        if not self.examples:
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
            return
        counts = self.length_counts[: np.flatnonzero(self.length_counts)[-1] + 1]
        with (self.folder / "length_counts.npy").open("wb") as file:
            file.write(_npy_header("<i8", len(counts)))
            file.write(counts.astype("<i8").data)
        _write_order(self.folder, counts, self.examples)
        summary: Mapping[str, object] = {
            "split": self.folder.name,
            "letters": alphabet.letters,
            "replaced": dict(alphabet.replaced),
            "examples": self.examples,
            "residues": self.residues,
            "state_counts": self.code_counts[: alphabet.num_states].tolist(),
            "options": asdict(options),
            "read": asdict(tally),
            "seems": seen,
        }
        if labels is not None:
            summary = {**summary, "label_names": list(labels.names), "most_labels": labels.most}
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _npy_header(dtype: str, count: int) -> bytes:
    """The header of an .npy file of one dimension, which is of the same size whatever the count."""
    file = BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": (count,)}
    )
    header = file.getvalue()
    assert len(header) == _HEADER
    return header


def _write_order(folder: Path, counts: NDArray[np.int64], examples: int) -> None:
    """Write `by_length.npy`; counts [longest + 1] of each length."""
    if examples > 1 << 32:
        raise fail("a split", "hold at most 2^32 examples", examples, "divide the file")
    place = np.cumsum(counts) - counts
    with (
        (folder / "offsets.npy").open("rb") as offsets,
        (folder / "by_length.npy").open("wb") as file,
    ):
        file.write(_npy_header("<u4", examples))
        for start in range(0, examples, _SLICE):
            offsets.seek(_HEADER + 8 * start)
            lengths = np.diff(np.frombuffer(offsets.read(8 * (_SLICE + 1)), dtype="<i8"))
            order = (start + np.argsort(lengths, kind="stable")).astype("<u4")
            here = np.bincount(lengths, minlength=len(counts))
            ends = np.cumsum(here)
            for length in np.flatnonzero(here).tolist():
                file.seek(_HEADER + 4 * int(place[length]))
                file.write(order[ends[length] - here[length] : ends[length]].data)
            place += here
