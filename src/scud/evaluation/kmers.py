"""Sequences end to end, their k-mers, and what they share with other sequences.

The polynomial sum_j c_(i+j) a^(m-1-j) mod 2^64 of every m-mer of the queries is sorted; the training data are
streamed past it in chunks, and every equal value is verified letter by letter, so that no collision counts.

Unknown letters (code B) keep their place, but are part of no k-mer and no match.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from scud.errors import fail

Codes = NDArray[np.unsignedinteger]
"""States as they are kept: a byte each where there are at most 255 of them."""

CHUNK = 1 << 18
"""Windows at once: they fit the cache."""

MAX_KMERS = 1 << 27
"""k-mers that a table of counts may have: 1 GiB."""

FILTER_BITS = 24
"""Leading bits of a hash that a table of bytes answers first: a search among all hashes costs many cache misses."""


@dataclass(frozen=True)
class SequenceArray:
    """N sequences end to end: sequence i is codes[offsets[i] : offsets[i + 1]].

    Attributes:
        codes: [total] states 0..B-1, or B where unknown.
        offsets: [N + 1], from 0 to total.

    Raises:
        UserError: offsets are not those of N sequences of at least one letter each.
    """

    codes: Codes
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.codes.dtype.kind != "u" or self.codes.ndim != 1:
            found = f"{self.codes.dtype} {list(self.codes.shape)}"
            raise TypeError(
                f"codes must be unsigned integers [total], such as uint8, got {found}; convert with .astype"
            )
        if not len(self.offsets) or self.offsets[0] != 0 or self.offsets[-1] != len(self.codes):
            rule = f"run from 0 to the number of codes, {len(self.codes)}"
            raise fail(
                "offsets",
                rule,
                self.offsets.tolist()[:: max(1, len(self.offsets) - 1)],
                "use from_list",
            )
        empty = np.flatnonzero(self.lengths < 1)
        if len(empty):
            raise fail(
                "sequence",
                "hold at least one letter",
                f"none in sequence {empty[0]}",
                "remove empty sequences",
            )

    @classmethod
    def from_list(cls, sequences: Sequence[NDArray[np.integer]]) -> "SequenceArray":
        """The sequences, each [length] of codes in 0..255."""
        offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
        codes = np.concatenate([np.zeros(0, dtype=np.uint8), *sequences])
        if len(codes) and (codes.min() < 0 or codes.max() > 255):
            raise fail(
                "codes", "lie in 0..255", f"{codes.min()}..{codes.max()}", "check the alphabet"
            )
        return cls(codes.astype(np.uint8), offsets)

    @classmethod
    def from_rows(cls, rows: NDArray[np.integer], num_states: int) -> "SequenceArray":
        """The rows of rows [N, length], all states known, in the smallest numbers that hold B too."""
        offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
        return cls(rows.astype(np.min_scalar_type(num_states)).ravel(), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] letters."""
        return np.diff(self.offsets)

    def take(self, index: NDArray[np.integer]) -> "SequenceArray":
        """The sequences at index [n]."""
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths[index])])
        moved = np.repeat(self.offsets[index] - offsets[:-1], self.lengths[index])
        return SequenceArray(self.codes[np.arange(offsets[-1]) + moved], offsets)

    def texts(self) -> Iterator[bytes]:
        """The codes of one sequence after another."""
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.codes[start:stop].tobytes()


def kmer_counts(sequences: SequenceArray, k: int, num_states: int) -> NDArray[np.int64]:
    """[B^k] how often each k-mer occurs; that of states b_1 ... b_k stands at sum_j b_j B^(k-j).

    Raises:
        UserError: k is below 1, or there are more than `MAX_KMERS` k-mers.
    """
    if k < 1 or num_states**k > MAX_KMERS:
        rule = f"be at least 1 and give at most {MAX_KMERS} k-mers"
        raise fail("k", rule, f"{k} with {num_states} states", "use a smaller k")
    counts = np.zeros(num_states**k, dtype=np.int64)
    for _, kmers in _windows(
        _separated(sequences, num_states), k, num_states, num_states, len(counts)
    ):
        counts += np.bincount(kmers.astype(np.int64), minlength=len(counts))
    return counts


def owned_kmers(
    sequences: SequenceArray, k: int, num_states: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """In chunks, the sequence [n] and the number [n] of every k-mer."""
    owner = _owners(sequences)
    for start, kmers in _windows(_separated(sequences, num_states), k, num_states, num_states):
        yield owner[start], kmers.astype(np.int64)


def find_matches(
    queries: SequenceArray, training: SequenceArray, num_states: int, match: int = 20
) -> NDArray[np.bool_]:
    """[N] whether `match` or more letters in a row of a query are found in a training sequence.

    A query shorter than that has none. Memory grows with the queries, and by a byte per letter of the training data.
    """
    matched = np.zeros(len(queries), dtype=np.bool_)
    place, found = find_windows(queries, [training], num_states, match)
    matched[_owners(queries)[place[found]]] = True
    return matched


def find_windows(
    queries: SequenceArray, training: Iterable[SequenceArray], num_states: int, match: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The windows of `match` known letters of the queries: their places [n], and whether a training sequence has each [n].

    Training sequences may come in parts, of which one at a time is needed. Places are those of all sequences end to end, with a
    place between any two.
    """
    if match < 1:
        raise fail("match", "be at least 1", match, "20 is usual for proteins")
    text, generator = _separated(queries, num_states), np.random.default_rng(0)
    while (
        True
    ):  # until no two different windows of the queries share a hash; about once in 10^6 they do
        base = int(generator.integers(1 << 62)) * 2 + 1
        windows = list(_windows(text, match, base, num_states))
        if not windows:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        place, hashes = (np.concatenate(part) for part in zip(*windows, strict=True))
        keys, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        if _equal(text, place, text, place[first][inverse], match).all():
            break
    leading, shift = np.zeros(1 << FILTER_BITS, dtype=np.bool_), np.uint64(64 - FILTER_BITS)
    leading[keys >> shift] = True
    found = np.zeros(len(keys), dtype=np.bool_)
    for part in training:
        source = _separated(part, num_states)
        for start, values in _windows(source, match, base, num_states):
            maybe = np.flatnonzero(leading[values >> shift])
            key = np.minimum(np.searchsorted(keys, values[maybe]), len(keys) - 1)
            hit = keys[key] == values[maybe]
            start, key = start[maybe[hit]], key[hit]
            found[key[_equal(source, start, text, place[first[key]], match)]] = True
    return place, found[inverse]


def find_copies(queries: SequenceArray, training: SequenceArray) -> NDArray[np.bool_]:
    """[N] whether a query equals a training sequence, unknown letters included."""
    wanted = set(queries.texts())
    copied = {text for text in training.texts() if text in wanted}
    return np.array([text in copied for text in queries.texts()], dtype=np.bool_)


def divergence(p_counts: NDArray[np.integer], q_counts: NDArray[np.integer]) -> float:
    """JS of two tables of counts of the same shape, bits; NaN where one is empty (no sequence is as long as k)."""
    if p_counts.shape != q_counts.shape or min(p_counts.min(), q_counts.min()) < 0:
        shapes = f"{list(p_counts.shape)} and {list(q_counts.shape)}"
        raise fail(
            "counts",
            "have one shape and be at least 0",
            shapes,
            "count both with the same k and num_states",
        )
    if not p_counts.any() or not q_counts.any():
        return math.nan
    p, q = p_counts / p_counts.sum(), q_counts / q_counts.sum()
    middle = (p + q) / 2
    nats = (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2
    return min(max(float(nats) / math.log(2), 0.0), 1.0)


def divergence_gradient(
    counts: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """g_x - sum_y p_y g_y for every k-mer: what one more of it in `counts` adds to JS, times the number of all of them."""
    p, q = counts / counts.sum(), others / others.sum()
    gradient = np.log2(np.divide(2 * p, p + q, out=np.ones_like(p), where=p > 0)) / 2
    return np.asarray(gradient - p @ gradient)


def _separated(sequences: SequenceArray, num_states: int) -> Codes:
    """[total + N] the codes with an unknown letter after each sequence, so that no known window spans two."""
    return np.insert(sequences.codes, sequences.offsets[1:], num_states)


def _owners(sequences: SequenceArray) -> NDArray[np.int64]:
    """[total + N] the sequence of each place of `_separated`."""
    return np.repeat(np.arange(len(sequences)), sequences.lengths + 1)


def _windows(
    text: Codes, width: int, base: int, unknown: int, at_least: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """In chunks of at least this size, the starts [n] of the windows of known letters and their polynomials [n]."""
    chunk = max(CHUNK, at_least)
    for start in range(0, len(text) - width + 1, chunk):
        part = text[start : start + chunk + width - 1]
        seen = np.concatenate(
            [np.zeros(1, dtype=np.int32), np.cumsum(part == unknown, dtype=np.int32)]
        )
        known = np.flatnonzero(seen[width:] == seen[:-width])
        yield start + known, _polynomials(part, width, base)[known]


def _polynomials(text: Codes, width: int, base: int) -> NDArray[np.uint64]:
    """sum_j c_(i+j) a^(width-1-j) mod 2^64 of every window, [len - width + 1], by doubling the width."""
    if width == 1:
        return text.astype(np.uint64)
    half = width // 2
    halves = _polynomials(text, half, base)
    whole = halves[:-half] * np.uint64(pow(base, half, 1 << 64)) + halves[half:]
    return whole[:-1] * np.uint64(base) + text[width - 1 :] if width % 2 else whole


def _equal(
    a: Codes, starts_a: NDArray[np.int64], b: Codes, starts_b: NDArray[np.int64], width: int
) -> NDArray[np.bool_]:
    """[n] whether the windows of a and b at these starts [n] hold the same letters."""
    same = np.ones(len(starts_a), dtype=np.bool_)
    for shift in range(width):
        same &= a[starts_a + shift] == b[starts_b + shift]
    return same
