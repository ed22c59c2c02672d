"""Batches of sequences of like length within a budget of tokens, planned from the number of sequences of each length alone.

Sequences are named by their rank in the order of length. A batch of n sequences padded to its longest, L, takes n L tokens.

Buckets. Ranks are divided, from the longest down, into buckets whose lengths lie in (0.9 L, L], L the bucket's longest. Bucket b
of c_b sequences gives batches of s_b = floor(tokens / L) of them, one at least. Where fewer than s_b have such lengths, the
bucket takes as many of the next shorter as make one batch; if the shortest of all make none, they join the bucket above.

Order. A bucket's batches are cut from one permutation of the bucket after another. Before epoch e it has given floor(e c_b / s_b)
batches, so that on average an epoch is one pass; before epoch e there are S(e) = sum_b floor(e c_b / s_b) steps, by which the
epoch of a step is found. Within an epoch the batches of all buckets are shuffled. So step -> ranks is a pure function, and
nothing but the buckets is kept.

Permutations take no memory either (see `scud.data.permutation`).
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.permutation import one_after_another, permuted
from scud.errors import fail


@dataclass(frozen=True)
class Bucket:
    """Sequences of like length.

    Attributes:
        first, count: their ranks are first, ..., first + count - 1.
        longest: length of the longest.
        size: sequences per batch.
    """

    first: int
    count: int
    longest: int
    size: int


def buckets(length_counts: NDArray[np.int64], tokens: int, *, multiple: int = 1) -> list[Bucket]:
    """Buckets from short to long that hold every sequence once.

    Args:
        length_counts: [longest + 1], how many sequences have each length.
        tokens: budget of a batch, padding included; one of `multiple` sequences may exceed it.
        multiple: batches are of a multiple of this many sequences, such as the number of devices.

    Raises:
        UserError: there are no sequences, or tokens or multiple is below 1.
    """
    for name, value in (("tokens", tokens), ("multiple", multiple)):
        if value < 1:
            raise fail(
                name, "be at least 1", value, "4096 tokens and a multiple of 1 are the usual choice"
            )
    ends = np.cumsum(length_counts)
    if not ends[-1]:
        raise fail("length_counts", "count at least one sequence", "none", "give sequences")
    found, end = list[Bucket](), int(ends[-1])
    while end:
        longest = _length_below(ends, end)
        size = max(tokens // longest // multiple, 1) * multiple
        start = max(min(int(ends[longest * 9 // 10]), end - size), 0)
        found.append(Bucket(start, end - start, longest, size))
        end = start
    last = found.pop()
    if last.count < last.size:
        if found:
            joined = found.pop()
            last = replace(joined, first=0, count=last.count + joined.count)
        else:
            last = replace(last, size=max(last.count // multiple, 1) * multiple)
    return [last, *reversed(found)]


def in_order(length_counts: NDArray[np.int64], tokens: int) -> Iterator[Tensor]:
    """Every rank once, in runs [n] int64 from the longest to the shortest: as many as the budget has room for, one at least."""
    ends = np.cumsum(length_counts)
    end = int(ends[-1])
    while end:
        start = max(end - max(tokens // _length_below(ends, end), 1), 0)
        yield torch.arange(start, end)
        end = start


def _length_below(ends: NDArray[np.int64], end: int) -> int:
    """The length of rank end - 1; ends [longest + 1], how many sequences are of each length or shorter."""
    return int(np.searchsorted(ends, end))


class LikeLengths:
    """An endless plan of training batches; a function of the step, so that a run can go on from any of them.

    Args:
        length_counts: [longest + 1], how many sequences have each length.
        tokens: budget of a batch, padding included.
        seed: of the order.
        multiple: batches are of a multiple of this many sequences.

    Raises:
        UserError: as in `buckets`.
    """

    def __init__(
        self, length_counts: NDArray[np.int64], tokens: int, seed: int, *, multiple: int = 1
    ) -> None:
        self.buckets, self.seed = buckets(length_counts, tokens, multiple=multiple), seed
        self._count = np.array([bucket.count for bucket in self.buckets])
        self._size = np.array([bucket.size for bucket in self.buckets])
        self._epoch = (0, 0, 0)

    @property
    def steps_per_epoch(self) -> float:
        """Steps per pass over all sequences, on average."""
        return float((self._count / self._size).sum())

    def ranks(self, step: int) -> Tensor:
        """Ranks [size] int64 of the batch of a step, all from one bucket."""
        epoch, first, end = self._epoch_of(step)
        before = self._batches_before(epoch)
        ends = np.cumsum(self._batches_before(epoch + 1) - before)
        slot = int(permuted(np.array([step - first]), end - first, (self.seed, 0, epoch))[0])
        b = int(np.searchsorted(ends, slot, side="right"))
        bucket, number = self.buckets[b], int(before[b]) + slot - (int(ends[b - 1]) if b else 0)
        place = one_after_another(
            number * bucket.size, bucket.size, bucket.count, (self.seed, 1 + b)
        )
        return torch.from_numpy(bucket.first + place)

    def _batches_before(self, epoch: int) -> NDArray[np.int64]:
        """Batches of each bucket before an epoch, [buckets]."""
        batches: NDArray[np.int64] = epoch * self._count // self._size
        return batches

    def _epoch_of(self, step: int) -> tuple[int, int, int]:
        """The epoch of a step, its first step and that of the next; the last answer is kept, since steps come in order."""
        if not self._epoch[1] <= step < self._epoch[2]:
            # floor loses less than one batch per bucket, so the epoch searched for is below this one.
            high = ceil((step + 1 + len(self.buckets)) / self.steps_per_epoch) + 2
            epoch = bisect_right(range(high), step, key=self._steps_before) - 1
            self._epoch = (epoch, self._steps_before(epoch), self._steps_before(epoch + 1))
        return self._epoch

    def _steps_before(self, epoch: int) -> int:
        return int(self._batches_before(epoch).sum())
