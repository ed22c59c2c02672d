"""Batches of like length: buckets and plans cover everything once, within the budget, as a function of the step alone."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scud.data.sequences.alphabets import ALPHABETS
from scud.data.sequences.buckets import LikeLengths, buckets, in_order
from scud.data.sequences.store import build_stores
from scud.errors import UserError

counts_of_lengths = st.dictionaries(
    st.integers(1, 90), st.integers(1, 40), min_size=1, max_size=12
).map(lambda found: np.array([found.get(length, 0) for length in range(max(found) + 1)]))


def sorted_lengths(length_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(length_counts)), length_counts)


def protein_like() -> NDArray[np.int64]:
    lengths = np.random.default_rng(0).gamma(2.5, 130, 150_000).astype(np.int64).clip(20, 1024)
    return np.bincount(lengths)


@given(counts_of_lengths, st.integers(1, 400), st.integers(1, 4))
def test_buckets_hold_every_sequence_once_and_keep_to_the_budget(
    length_counts: NDArray[np.int64], tokens: int, multiple: int
) -> None:
    found, lengths = (
        buckets(length_counts, tokens, multiple=multiple),
        sorted_lengths(length_counts),
    )
    assert [bucket.first for bucket in found] == np.cumsum(
        [0, *(bucket.count for bucket in found)]
    )[:-1].tolist()
    assert sum(bucket.count for bucket in found) == len(lengths)
    for number, bucket in enumerate(found):
        inside = lengths[bucket.first : bucket.first + bucket.count]
        assert bucket.longest == inside[-1]
        assert bucket.size % multiple == 0
        assert bucket.size * bucket.longest <= tokens or bucket.size == multiple
        assert bucket.count >= bucket.size or len(found) == 1
        spread_out = inside[0] <= 0.9 * bucket.longest
        # only a bucket of a single batch, or the first, which may have taken in shorter ones, is less alike
        assert not spread_out or bucket.count == bucket.size or number == 0


def test_lengths_within_the_buckets_of_many_sequences_are_alike() -> None:
    length_counts = protein_like()
    found, lengths = buckets(length_counts, 4096), sorted_lengths(length_counts)
    assert len(found) < 60
    for bucket in found[1:]:
        assert lengths[bucket.first] > 0.9 * bucket.longest


def test_few_sequences_make_one_smaller_batch() -> None:
    (bucket,) = buckets(np.array([0, 0, 3]), 4096)
    assert (bucket.count, bucket.longest, bucket.size) == (3, 2, 3)


@pytest.mark.parametrize(
    ("counts", "tokens", "multiple"), [([0, 0], 9, 1), ([0, 3], 0, 1), ([0, 3], 9, 0)]
)
def test_buckets_refuse_what_makes_no_batch(counts: list[int], tokens: int, multiple: int) -> None:
    with pytest.raises(UserError):
        buckets(np.array(counts), tokens, multiple=multiple)


# Plans


@settings(max_examples=20, deadline=None)
@given(counts_of_lengths, st.integers(60, 600), st.integers(0, 2**63 - 1), st.integers(1, 3))
def test_a_plan_sees_every_sequence_once_per_pass(
    length_counts: NDArray[np.int64], tokens: int, seed: int, multiple: int
) -> None:
    plan, step = LikeLengths(length_counts, tokens, seed, multiple=multiple), 0
    seen = np.zeros(length_counts.sum(), dtype=np.int64)
    starts = np.array([bucket.first for bucket in plan.buckets])
    for epoch in range(1, 4):
        given = [epoch * bucket.count // bucket.size for bucket in plan.buckets]
        while step < sum(given):
            ranks = plan.ranks(step).numpy()
            (b,) = set(np.searchsorted(starts, ranks, side="right") - 1)
            assert len(ranks) == plan.buckets[b].size
            np.add.at(seen, ranks, 1)
            step += 1
        for bucket, batches in zip(plan.buckets, given, strict=True):
            inside = seen[bucket.first : bucket.first + bucket.count]
            assert inside.sum() == batches * bucket.size
            assert inside.max() - inside.min() <= 1


def test_ranks_of_a_step_depend_on_step_and_seed_alone() -> None:
    length_counts, steps = protein_like(), [0, 1, 2, 9_999, 10_000, 1_000_000, 123_456_789]
    plan = LikeLengths(length_counts, 4096, seed=3)
    forward = [plan.ranks(step) for step in steps]
    backward = [LikeLengths(length_counts, 4096, seed=3).ranks(step) for step in reversed(steps)]
    for one, other in zip(forward, reversed(backward), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(forward[0], LikeLengths(length_counts, 4096, seed=4).ranks(0))


def test_epochs_begin_where_the_batches_of_those_before_end() -> None:
    plan = LikeLengths(protein_like(), 4096, seed=0)
    for epoch in (0, 1, 2, 50, 12_345):
        first = sum(epoch * bucket.count // bucket.size for bucket in plan.buckets)
        following = sum((epoch + 1) * bucket.count // bucket.size for bucket in plan.buckets)
        for step in (first, following - 1):
            assert plan._epoch_of(step) == (epoch, first, following)


def test_batches_of_an_epoch_come_in_random_order() -> None:
    plan = LikeLengths(protein_like(), 4096, seed=0)
    longest = np.array([len(plan.ranks(step)) for step in range(1000)])
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.1
    assert abs(np.corrcoef(longest, np.arange(1000))[0, 1]) < 0.1


def test_padding_is_small_and_batches_are_full() -> None:
    length_counts = protein_like()
    plan, lengths = LikeLengths(length_counts, 4096, seed=0), sorted_lengths(length_counts)
    sizes = [lengths[plan.ranks(step).numpy()] for step in range(1000)]
    taken = sum(int(size.max()) * len(size) for size in sizes)
    assert 1 - sum(int(size.sum()) for size in sizes) / taken < 0.07
    assert taken > 0.9 * 4096 * 1000


# Evaluation


@given(counts_of_lengths, st.integers(1, 400))
def test_in_order_covers_every_rank_once_within_the_budget(
    length_counts: NDArray[np.int64], tokens: int
) -> None:
    batches, lengths = list(in_order(length_counts, tokens)), sorted_lengths(length_counts)
    assert torch.equal(torch.cat(batches[::-1]), torch.arange(len(lengths)))
    for batch in batches:
        assert len(batch) * lengths[batch.max()] <= tokens or len(batch) == 1


@pytest.mark.skipif("SCUD_DATA" not in os.environ, reason="needs the real data sets")
def test_padding_on_real_proteins(tmp_path: Path) -> None:
    path = Path(os.environ["SCUD_DATA"]) / "proteins_train.fasta.gz"
    train = build_stores(path, ALPHABETS["protein"], cache=tmp_path)["train"]
    plan, real, taken = LikeLengths(train.length_counts, 4096, seed=0), 0, 0
    for step in range(2000):
        lengths = train.lengths(train.by_length(plan.ranks(step)))
        assert int(lengths.max()) * len(lengths) <= 4096
        real, taken = real + int(lengths.sum()), taken + int(lengths.max()) * len(lengths)
    assert real > 0.9 * taken
