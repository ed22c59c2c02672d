"""Text on disk as states, read through memory maps.

A text is one stream of states (see `scud.data.text.tokenizers`), cut from its beginning into chunks of a fixed length that
do not overlap; what is left at the end and makes no whole chunk is dropped. A file or table is read once. What is made of it
is kept in the cache (see `scud.files.cache`):

- `states.bin`: the states of all chunks, of the smallest of uint8, uint16 and int32 that holds them;
- `borders.bin`: int64 [chunks + 1, 3], how many characters, bytes of UTF-8 and words of the text are before each chunk, and
  before the end of the last one. A state has the text from where it begins to where the next one does; a word, which is what
  stands between white space, is where it begins;
- `summary.json`: what was read, in all.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.order import Shuffled, shuffled
from scud.data.splits import fixed_shuffle
from scud.data.text.tokenizers import Piece, Tokenizer, code_points
from scud.errors import UserError, fail
from scud.files.arrays import UNREADABLE
from scud.files.checksums import digest_of, recorded_digest
from scud.files.maps import here_and_there
from scud.typing import Batch, BatchSize

FORMAT = 2
"""Raised whenever the same text would give another store."""

HELD_BLOCKS = 10
"""About how many blocks are held out, where the text has enough of them."""

_SLICE = 1 << 22
_COUNTED = 1 << 18
"""States counted at a time: widened to eight bytes, they stay in the processor's cache."""

_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])


@dataclass
class Extent:
    """How much text there is: tokens (states), characters, bytes of UTF-8, and words, which stand between white space."""

    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    words: int = 0


class TextSet:
    """Chunks of a text on disk; it is pickled as the name of its folder, and their numbers.

    Args:
        folder: what `write_text` filled.
        chunks: the numbers of the chunks, [N]; all of them if it is None.

    Attributes:
        length: states per chunk.
        whole: how much text was read, also what makes no whole chunk.
        unknown: how many of its states are the unknown token.
        notes: what else reading it found, each with how often.

    Raises:
        UserError: the folder is not a complete store.
    """

    def __init__(self, folder: str | Path, chunks: NDArray[np.int64] | None = None) -> None:
        self.folder = Path(folder)
        try:
            summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
            self.length, self.unknown = int(summary["length"]), int(summary["unknown"])
            self.whole, self.notes = Extent(**summary["read"]), dict(summary["notes"])
            self._dtype = str(summary["dtype"])
            self._states = here_and_there(self._mapped()).reshape(-1, self.length)
            self._borders = np.asarray(
                np.memmap(self.folder / "borders.bin", dtype="<i8", mode="r")
            ).reshape(-1, 3)
            complete = (
                len(self._states) == len(self._borders) - 1 == self.whole.tokens // self.length
            )
        except (*UNREADABLE, KeyError, AttributeError) as error:
            raise _damaged(self.folder, f"an error ({error})") from error
        if not complete:
            raise _damaged(self.folder, "a file that was cut short")
        self.chunks = np.arange(len(self._states)) if chunks is None else chunks

    def _mapped(self) -> np.memmap[Any, Any]:
        """The states of all chunks, one after another."""
        return np.memmap(self.folder / "states.bin", dtype=self._dtype, mode="r")

    def __reduce__(self) -> tuple[type["TextSet"], tuple[Path, NDArray[np.int64]]]:
        return type(self), (self.folder, self.chunks)

    def __len__(self) -> int:
        """Number of chunks N."""
        return len(self.chunks)

    def batch(self, index: Tensor) -> Batch:
        """The chunks at `index` [n]: x0 [n, length] int64; all positions are real."""
        return Batch(
            x0=torch.from_numpy(self._states[self.chunks[index.cpu().numpy()]].astype(np.int64))
        )

    def batches(self, size: BatchSize) -> Iterable[Tensor]:
        """All indices in order, `size.examples` at a time."""
        return torch.split(torch.arange(len(self)), size.examples)

    def order(self, size: BatchSize, seed: int, parts: int) -> Shuffled:
        """The order in which training takes them; errors as in `scud.data.order.shuffled`."""
        return shuffled(len(self), size, seed, parts)

    def part(self, most: int) -> "TextSet":
        """At most so many of the chunks, spread evenly over the text; always the same ones."""
        return (
            self
            if len(self) <= most
            else TextSet(self.folder, self.chunks[np.arange(most) * len(self) // most])
        )

    def digest(self) -> str:
        """A digest of the chunks, of which that of all is known since they were written."""
        parts = [recorded_digest(self.folder, name) for name in ("states.bin", "borders.bin")]
        chunks = hashlib.blake2b(self.chunks.astype("<i8").data).hexdigest()
        return digest_of([self.length, *parts, chunks])

    @property
    def text(self) -> Extent:
        """How much text these chunks cover."""
        characters, size, words = (
            (self._borders[self.chunks + 1] - self._borders[self.chunks]).sum(axis=0).tolist()
        )
        return Extent(len(self) * self.length, characters, size, words)

    def state_counts(self) -> Tensor:
        """How often each state occurs, up to the largest one, [at most B] int64."""
        return self._state_counts.clone()

    @cached_property
    def _state_counts(self) -> Tensor:
        """Counted once, because of a large text it takes seconds; each part by a map of its own, whose pages go with it."""
        counts = torch.zeros(0, dtype=torch.int64)
        for chunks in np.array_split(self.chunks, ceil(len(self) * self.length / _COUNTED)):
            states = np.asarray(self._mapped()).reshape(-1, self.length)[chunks]
            found = torch.from_numpy(np.bincount(states.ravel(), minlength=len(counts)))
            found[: len(counts)] += counts
            counts = found
        return counts


def hold_out(text: TextSet, share: float) -> tuple[TextSet, TextSet]:
    """A text in two: what is left, and a share that is held out, at least one chunk each.

    Its n chunks are b = min(n, ceil(10 / share)) blocks of neighbours, as equal in number as can be. max(1, round(share b)) of
    the blocks, at most b - 1, are held out: the first ones of a fixed shuffle of their numbers. So what is held out is some
    ten long stretches of text from everywhere in it, and only at the ends of these does training text go on in it.

    Raises:
        UserError: the text has fewer than two chunks.
    """
    count = len(text)
    if count < 2:
        remedy = "give a file by --data.valid, more text, or a smaller --data.length"
        raise fail(
            "data.valid",
            "hold a chunk at least",
            f"one of {text.length} states, for training too",
            remedy,
        )
    blocks = min(count, ceil(HELD_BLOCKS / share))
    chosen = np.zeros(blocks, dtype=np.bool_)
    chosen[fixed_shuffle(blocks)[: min(max(1, round(share * blocks)), blocks - 1)]] = True
    held = chosen[np.arange(count) * blocks // count]
    return TextSet(text.folder, text.chunks[~held]), TextSet(text.folder, text.chunks[held])


def write_text(
    folder: Path, *, pieces: Iterator[Piece], tokens: Tokenizer, length: int, name: str
) -> None:
    """Fill a new folder with the chunks of a text; `name` is what to call it in messages.

    Raises:
        UserError: there are too few states for a chunk, or whatever reading the pieces raises.
    """
    dtype = next(
        kind for kind in ("<u1", "<u2", "<i4") if tokens.num_states - 1 <= np.iinfo(kind).max
    )
    total, unknown, in_word, notes = Extent(), 0, False, Counter[str]()
    with (
        (folder / "states.bin").open("wb") as states,
        (folder / "borders.bin").open("wb") as borders,
    ):
        for piece in pieces:
            found = tokens.read(piece)
            notes.update(found.notes)
            states.write(found.states.astype(dtype).data)
            here = np.array([total.characters, total.bytes, total.words])
            first = np.arange(
                -total.tokens % length, len(found.states), length
            )  # the first state of each chunk
            before, size, in_word = _measured(piece.text, found.begin[first], in_word)
            rows = here + before
            if tokens.unit == "byte":
                rows[:, 1] = total.tokens + first  # a chunk may begin within a character
            if not total.tokens:
                rows[:1] = 0  # what comes before the first state is its share too
            borders.write(rows.astype("<i8").data)
            unknown += 0 if tokens.unknown is None else int((found.states == tokens.unknown).sum())
            total = Extent(total.tokens + len(found.states), *(here + size).tolist())
        whole, rest = divmod(total.tokens, length)
        if not rest:
            borders.write(np.array([total.characters, total.bytes, total.words], dtype="<i8").data)
        states.truncate(whole * length * np.dtype(dtype).itemsize)
    if not whole:
        found_text = (
            f"{total.tokens} of {total.characters} characters"
            if total.characters
            else "an empty file"
        )
        remedy = "give more text, or a smaller --data.length"
        raise fail(name, f"hold a chunk of {length} {tokens.units} or more", found_text, remedy)
    summary = {"length": length, "dtype": dtype, "unknown": unknown, "notes": notes}
    summary["read"] = asdict(total)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _measured(
    text: str, places: NDArray[np.int64], in_word: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """How many characters, bytes and words of a text are before each of some characters, and in all; a slice at a time.

    Args:
        text: the characters.
        places: which of them [n], ascending.
        in_word: whether what came before ends within a word.

    Returns:
        These, [n, 3] and [3], and whether the text ends within a word.
    """
    total, rows = np.zeros(3, dtype=np.int64), np.zeros((len(places), 3), dtype=np.int64)
    for start in range(0, len(text), _SLICE):
        part = text[start : start + _SLICE]
        before, in_word = _measure(part, in_word)
        first, last = np.searchsorted(places, [start, start + len(part)])
        rows[first:last] = total + before[places[first:last] - start]
        total = total + before[-1]
    rows[np.searchsorted(places, len(text)) :] = total
    return rows, total, in_word


def _measure(text: str, in_word: bool) -> tuple[NDArray[np.int64], bool]:
    """How many characters, bytes and words are before each character of a text and before its end, [length + 1, 3].

    Args:
        text: the characters.
        in_word: whether what came before ends within a word.

    Returns:
        These, and whether the text ends within a word.
    """
    codes = code_points(text)
    word = ~_SPACES[np.minimum(codes, len(_SPACES) - 1)]
    before = np.zeros((len(codes) + 1, 3), dtype=np.int64)
    before[:, 0] = np.arange(len(codes) + 1)
    np.cumsum(1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), out=before[1:, 1])
    np.cumsum(word & ~np.concatenate([[in_word], word[:-1]]), out=before[1:, 2])
    return before, bool(word[-1])


def _damaged(folder: Path, value: str) -> UserError:
    return fail(f"the store {folder}", "be complete", value, f"delete {folder} and run again")
