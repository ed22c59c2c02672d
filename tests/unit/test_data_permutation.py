"""Permutations without memory: each number comes once, in an order that looks random, whatever part of it is asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scud.data.order import Shuffled
from scud.data.permutation import one_after_another, permuted


@pytest.mark.parametrize("count", [*range(1, 70), 1000, 4096, 4097, 65_537])
def test_permuted_is_a_permutation(count: int) -> None:
    images = permuted(np.arange(count), count, (7, count))
    assert images.dtype == np.int64
    assert np.array_equal(np.sort(images), np.arange(count))
    some = np.arange(count)[::3].reshape(1, -1)
    assert np.array_equal(permuted(some, count, (7, count)), images[some])


def test_permuted_mixes() -> None:
    """Of 4,800 permutations of 4, all 24 occur evenly; large ones have no fixed order, and differ between seeds."""
    orders = [tuple(permuted(np.arange(4), 4, (seed,))) for seed in range(4800)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 60  # chi-squared of 23 degrees of freedom: p = 4e-5
    first, second = (permuted(np.arange(10_007), 10_007, (seed,)) for seed in (0, 1))
    place = np.arange(10_007)
    for one, other in ((first, place), (second, place), (first, second), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
    assert (first == second).sum() < 10


@given(st.integers(1, 20), st.integers(0, 60), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_any_part_of_a_row_of_permutations_can_be_taken(
    count: int, first: int, number: int, seed: int
) -> None:
    passes = range((first + number) // count + 1)
    whole = [permuted(np.arange(count), count, (seed, 4, number)) for number in passes]
    found = one_after_another(first, number, count, (seed, 4))
    assert found.dtype == np.int64
    assert np.array_equal(found, np.concatenate(whole)[first : first + number])


def test_a_step_of_very_many_examples_takes_no_memory() -> None:
    """Of a million times a million examples, far beyond what could be held: each of two epochs takes its own."""
    order = Shuffled(10**12, 500, seed=3)
    found = [order.examples(step) for step in (0, 1, 2 * 10**9 - 1, 2 * 10**9)]
    assert len(np.unique(np.concatenate(found))) == 2000
    assert all(int(part.min()) >= 0 and int(part.max()) < 10**12 for part in found)
    assert order.examples(0).equal(found[0])
