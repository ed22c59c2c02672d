"""Sequences on disk, read through memory maps.

A FASTA file is read once. What `scud.data.sequences.ingest` makes of it is kept in the cache (see `scud.files.cache`)
for the file's content, the options and the alphabet.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.sequences.accounts import Tally, seems_line
from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.buckets import in_order
from scud.data.sequences.fasta import read_blocks
from scud.data.sequences.ingest import (
    Assign,
    RecordLabels,
    StoreOptions,
    hash_split,
    ingest,
)
from scud.data.sequences.order import ByTokens
from scud.data.sequences.uniref import folder_files, given_splits
from scud.data.splits import SPLITS
from scud.errors import UserError, fail
from scud.files import check_file
from scud.files.arrays import UNREADABLE
from scud.files.cache import cached_folder
from scud.files.checksums import digest_of, recorded_digest
from scud.files.digests import file_digest
from scud.files.maps import here_and_there
from scud.typing import Batch, BatchSize

__all__ = ["SequenceSet", "StoreOptions", "build_stores", "store_key"]

FORMAT = 1
"""Raised whenever the same file would give another store."""

_AT_ONCE = 1 << 20


class SequenceSet:
    """The examples of one split, on disk; it is pickled as the name of its folder.

    Args:
        folder: a split's folder within a store.
        numbers: the class label that each label of the store stands for, [labels + 1], the last
            one for none; None: labels are not read.

    Raises:
        UserError: the folder is not a complete store.
    """

    def __init__(self, folder: str | Path, numbers: NDArray[np.int64] | None = None) -> None:
        self.folder = Path(folder)
        self.numbers = numbers
        try:
            self.summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
            self._residues = here_and_there(self._mapped())
            self._offsets = here_and_there(np.load(self.folder / "offsets.npy", mmap_mode="r"))
            self._by_length = here_and_there(np.load(self.folder / "by_length.npy", mmap_mode="r"))
            self.length_counts: NDArray[np.int64] = np.load(self.folder / "length_counts.npy")
            complete = len(self._residues) == self._offsets[-1] == self.summary["residues"]
            if numbers is not None:
                labels = np.memmap(self.folder / "labels.bin", dtype="<i4", mode="r")
                self._labels = np.asarray(labels).reshape(len(self), self.summary["most_labels"])
        except (*UNREADABLE, KeyError, IndexError) as error:
            raise _damaged(self.folder, f"an error ({error})") from error
        if not complete:
            raise _damaged(self.folder, "a file that was cut short")

    def _mapped(self) -> np.memmap[Any, Any]:
        return np.memmap(self.folder / "residues.bin", dtype=np.uint8, mode="r")

    def __reduce__(
        self,
    ) -> tuple[type["SequenceSet"], tuple[Path, NDArray[np.int64] | None]]:
        return type(self), (self.folder, self.numbers)

    def __len__(self) -> int:
        """Number of examples N."""
        return len(self._by_length)

    @property
    def num_states(self) -> int:
        """B; it is also the code of an unknown residue."""
        return len(self.summary["letters"])

    @property
    def longest(self) -> int:
        """Length of the longest example."""
        return len(self.length_counts) - 1

    def by_length(self, rank: Tensor) -> Tensor:
        """The examples of these ranks in the order of length, shortest first: any shape, int64."""
        return torch.from_numpy(self._by_length[rank.cpu().numpy()].astype(np.int64))

    def lengths(self, index: Tensor) -> Tensor:
        """Lengths of the examples `index`: any shape, int64; unknown residues count."""
        i = index.cpu().numpy()
        return torch.from_numpy(self._offsets[i + 1] - self._offsets[i])

    def batch(self, index: Tensor) -> Batch:
        """The examples `index` [n]: x0 [n, L] int64 and mask [n, L], L the longest of them.

        Padding and unknown residues are not real: the mask is False there, and x0 is 0. Labels are
        [n], or [n, most] where an example may have several, -1 where there is none.
        """
        i = index.cpu().numpy()
        start = self._offsets[i]
        lengths = self._offsets[i + 1] - start
        column = np.arange(lengths.max(initial=0))
        real = column < lengths[:, None]
        x0 = self._residues[np.where(real, start[:, None] + column, 0)].astype(np.int64)
        real &= x0 < self.num_states
        x0[~real] = 0
        label = None
        if self.numbers is not None:
            label = torch.from_numpy(self.numbers[self._labels[i]])
            label = label.squeeze(1) if self.summary["most_labels"] == 1 else label
        return Batch(x0=torch.from_numpy(x0), mask=torch.from_numpy(real), label=label)

    def batches(self, size: BatchSize) -> Iterator[Tensor]:
        """All examples once, like lengths together, padded to at most `size.positions`."""
        return (self.by_length(ranks) for ranks in in_order(self.length_counts, size.positions))

    def order(self, size: BatchSize, seed: int, parts: int) -> ByTokens:
        """The order in which training takes them; errors as in `ByTokens`."""
        return ByTokens(self, size.positions, parts, seed)

    def part(self, most: int) -> "SequenceSet | SequencePart":
        """At most so many of the examples, spread evenly over lengths; always the same ones."""
        if len(self) <= most:
            return self
        return SequencePart(self, self.by_length(torch.arange(most) * len(self) // most))

    def stored_labels(self) -> tuple[list[str], NDArray[np.int32]]:
        """Names of the labels of the store, and those of its examples, [N, most], -1 for none.

        Raises:
            UserError: the store was made without labels, or is damaged.
        """
        try:
            names: list[str] = self.summary["label_names"]
            labels = np.fromfile(self.folder / "labels.bin", dtype="<i4")
            return names, labels.reshape(len(self), self.summary["most_labels"])
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(self.folder, f"an error ({error})") from error

    def labelled(self, numbers: NDArray[np.int64]) -> "SequenceSet":
        """The same examples with labels; numbers [labels + 1] are what those of the store become."""
        return SequenceSet(self.folder, numbers)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The residues of all examples, one after another, B where unknown; in a map of their own, to be read in order."""
        return np.asarray(self._mapped())

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each example begins in `codes`, and where the last one ends: [N + 1]."""
        return self._offsets

    def sequence(self, i: int) -> NDArray[np.uint8]:
        """Codes [length] of one example, B where unknown."""
        return self._residues[self._offsets[i] : self._offsets[i + 1]].copy()

    def state_counts(self) -> Tensor:
        """How often each state occurs, [B] int64; unknown residues are left out."""
        return torch.tensor(self.summary["state_counts"], dtype=torch.int64)

    def label_counts(self) -> Tensor:
        """How often every label that is read occurs, up to the largest one, [at most the number of labels] int64."""
        if self.numbers is None:
            return torch.zeros(0, dtype=torch.int64)
        stored = np.zeros(len(self.numbers), dtype=np.int64)
        for start in range(0, len(self), _AT_ONCE):
            rows = self._labels[start : start + _AT_ONCE]
            stored += np.bincount(rows.ravel() % len(stored), minlength=len(stored))
        there = self.numbers >= 0
        counts = np.bincount(self.numbers[there], weights=stored[there])
        return torch.from_numpy(counts.astype(np.int64))

    def digest(self) -> str:
        """A digest of the examples and, where they are read, their labels; it is known since they were written."""
        labels = [] if self.numbers is None else ["labels.bin"]
        store = self.folder.parent
        parts: list[object] = [
            recorded_digest(store, f"{self.folder.name}/{name}")
            for name in ["residues.bin", "offsets.npy", *labels]
        ]
        parts.append(self.summary["letters"])
        if self.numbers is not None:
            parts += [self.summary["label_names"], self.numbers.tolist()]
        return digest_of(parts)

    def report(self) -> list[str]:
        """What was read, dropped, cut and replaced in the whole file, and what this split holds; a line each."""
        tally, options = Tally(**self.summary["read"]), StoreOptions(**self.summary["options"])
        shortest, mean = (
            int(np.flatnonzero(self.length_counts)[0]),
            self.summary["residues"] / len(self),
        )
        lines = [
            f"read {tally.records:,} sequences of {tally.residues:,} residues",
            *_losses(tally, options),
        ]
        if tally.cut:
            lines.append(
                f"cut {tally.cut:,} longer than {options.max_length} into {tally.parts:,} examples"
            )
        lines += tally.letter_lines(self.summary["replaced"])
        other = self.summary["seems"]
        if other:
            line = seems_line(other, self.summary["letters"])
            lines.append(f"{line}; read {other.upper()} with --data.alphabet {other}")
        span = f"of length {shortest} to {self.longest}, {mean:.0f} on average"
        return [*lines, f"{self.summary['split']}: {len(self):,} examples {span}"]


class SequencePart:
    """Some of the examples of a set.

    Args:
        whole: the set.
        index: which of its examples, [n], in the order of length.
    """

    def __init__(self, whole: SequenceSet, index: Tensor) -> None:
        self.whole = whole
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def length_counts(self) -> NDArray[np.int64]:
        """How many examples there are of each length, [longest + 1]."""
        return torch.bincount(self.whole.lengths(self.index)).numpy()

    def by_length(self, rank: Tensor) -> Tensor:
        """The examples of these ranks: places in this part are in the order of length."""
        return rank

    def batch(self, index: Tensor) -> Batch:
        """The examples `index` [n] of this part."""
        return self.whole.batch(self.index[index])

    def batches(self, size: BatchSize) -> Iterable[Tensor]:
        """As of the whole set."""
        return in_order(self.length_counts, size.positions)

    def order(self, size: BatchSize, seed: int, parts: int) -> ByTokens:
        """As of the whole set."""
        return ByTokens(self, size.positions, parts, seed)

    def part(self, most: int) -> "SequencePart":
        """At most so many of the examples, spread evenly over lengths; always the same ones."""
        if len(self) <= most:
            return self
        return SequencePart(self.whole, self.index[torch.arange(most) * len(self) // most])

    def digest(self) -> str:
        """A digest of the examples and their labels."""
        return digest_of([self.whole.digest(), self.index.tolist()])

    def state_counts(self) -> Tensor:
        """How often each state occurs, [B] int64; unknown residues are left out."""
        counts = torch.zeros(self.whole.num_states, dtype=torch.int64)
        for index in self.batches(BatchSize(1, _AT_ONCE)):
            batch = self.batch(index)
            assert batch.mask is not None, "sequences differ in length"
            counts += torch.bincount(batch.x0[batch.mask], minlength=len(counts))
        return counts


class Labels(RecordLabels, Protocol):
    """Class labels of records, and what a store that holds them depends on."""

    @property
    def key(self) -> list[str]: ...

    def finish(self, folder: Path, /) -> None:
        """Write into a store what is known at the end."""
        ...


def build_stores(
    path: str | Path,
    alphabet: Alphabet,
    options: StoreOptions | None = None,
    cache: str | Path | None = None,
    labels: Labels | None = None,
) -> dict[str, SequenceSet]:
    """The sequences of a file by split, read into the cache unless they are there.

    Args:
        path: a FASTA file, plain or gzip, or a folder as `scud.data.sequences.uniref` describes, whose own splits are taken.
        alphabet: what letters stand for.
        options: which sequences are kept, and the share held out.
        cache: folder of stores; `scud.files.cache.default_cache()` if it is None.
        labels: class labels of the records, to be kept with them.

    Returns:
        "train", and those of "valid" and "test" that have examples.

    Raises:
        UserError: the input is wrong, nothing is left for training, or the cache cannot be written.
    """
    path, options = Path(path), options or StoreOptions()
    key = store_key(path, alphabet, options, cache) + ([] if labels is None else [labels.key])
    read = partial(_read_into, path=path, alphabet=alphabet, options=options, labels=labels)
    folder = cached_folder("sequences", key, read, cache, what=f"the sequences of {path}")
    return {name: SequenceSet(folder / name) for name in SPLITS if (folder / name).is_dir()}


def _read_into(
    folder: Path, path: Path, alphabet: Alphabet, options: StoreOptions, labels: Labels | None
) -> None:
    """Write the stores of a file's splits."""
    by_hash = hash_split(options.valid_share, alphabet.num_states)
    source: AbstractContextManager[Assign] = (
        given_splits(path) if path.is_dir() else nullcontext(by_hash)
    )
    text = folder_files(path)[0] if path.is_dir() else path
    with source as assign:
        blocks = read_blocks(text, alphabet)
        tally, examples = ingest(folder, blocks, assign, alphabet, options, labels)
    if labels is not None:
        labels.finish(folder)
    if not examples["train"]:
        held = sum(examples.values())
        losses = [
            f"read {tally.records:,}",
            *_losses(tally, options),
            *([f"held out {held:,}"] if held else []),
        ]
        share = "lower valid_share, " if options.valid_share else ""
        remedy = f"widen min_length and max_length, {share}or give more sequences"
        raise fail(str(path), "leave sequences to use", f"none: {', '.join(losses)}", remedy)


def _losses(tally: Tally, options: StoreOptions) -> list[str]:
    """What was left out, and why."""
    reasons = {
        f"shorter than {options.min_length}": tally.short,
        f"longer than {options.max_length}": tally.long,
        "without a known residue": tally.blank,
        "that are in no split": tally.unused,
    }
    return [f"dropped {count:,} {reason}" for reason, count in reasons.items() if count]


def store_key(
    path: Path, alphabet: Alphabet, options: StoreOptions, cache: str | Path | None
) -> list[object]:
    """What a store without labels depends on; arguments and errors as in `build_stores`."""
    if not path.is_dir():
        check_file(path, "a FASTA file")
    files = folder_files(path) if path.is_dir() else [path]
    digests = [file_digest(file, cache) for file in files]
    letters = [alphabet.letters, alphabet.unknown, sorted(alphabet.replaced.items())]
    return [FORMAT, digests, asdict(options), letters]


def _damaged(folder: Path, value: str) -> UserError:
    remedy = f"delete {folder.parent} and run again"
    return fail(f"the store {folder}", "be complete", value, remedy)
