"""Pseudo-random permutations that take no memory, however many things they permute.

Numbers below a w are cells (row, column) of an a x w table, and row += F_k(column) mod a, column += F_k(row) mod w is one to one
for any F, as in a Feistel network. With a = ceil(sqrt n), w = ceil(n / a), fewer than a cells are beyond the first n; a number
that ends on one of these goes on from there until it does not, which keeps the map one to one (Black and Rogaway 2002).
"""

from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
_HALF = np.uint64(32)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93], dtype=np.uint64)


def permuted(position: NDArray[np.int64], count: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Where a pseudo-random permutation of 0..count-1 takes the positions given; any shape, in constant memory.

    Args:
        position: in [0, count).
        count: how many are permuted.
        seed: which permutation; the same one always gives the same.
    """
    height = np.uint64(isqrt(count - 1) + 1)
    width = np.uint64(-(-count // int(height)))
    keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)
    value = position.astype(np.uint64).reshape(-1)
    outside = np.arange(value.size)
    while outside.size:
        row, column = np.divmod(value[outside], width)
        for up, along in zip(keys[::2], keys[1::2], strict=True):
            row = (row + _scrambled(column ^ up)) % height
            column = (column + _scrambled(row ^ along)) % width
        value[outside] = row * width + column
        outside = outside[value[outside] >= count]
    return value.astype(np.int64).reshape(position.shape)


def one_after_another(
    first: int, number: int, count: int, seed: tuple[int, ...]
) -> NDArray[np.int64]:
    """Part of an endless row of permutations of 0..count-1, the p-th of which is that of the seed (*seed, p).

    Args:
        first: the place in the row to begin with.
        number: how many places of it are taken.
        count: how many are permuted.
        seed: of the row.

    Returns:
        What stands at the places first, …, first + number - 1, [number].
    """
    begin, offset = divmod(first, count)
    passes, position = np.divmod(offset + np.arange(number), count)
    edges = np.searchsorted(passes, np.arange(passes[-1] + 2))
    parts = [
        permuted(position[start:stop], count, (*seed, begin + part))
        for part, (start, stop) in enumerate(pairwise(edges))
    ]
    return np.concatenate(parts)


def _scrambled(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """32 bits that each depend on all of a 64-bit number."""
    value = value * _FACTORS[0]
    value ^= value >> _HALF
    value *= _FACTORS[1]
    value >>= _HALF
    return value
