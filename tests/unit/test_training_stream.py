"""Batches as a function of (seed, step): epochs are permutations; ranks and accumulation steps share one batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scud.data import Examples
from scud.errors import UserError
from scud.training.stream import Portion, Stream, examples_of_step

EXAMPLES = Examples(torch.arange(30, dtype=torch.uint8).reshape(30, 1), torch.arange(30))


def portions(batch_size: int, accumulate: int, ranks: int, first: int, end: int) -> list[Portion]:
    return [
        portion
        for rank in range(ranks)
        for portion in Stream(EXAMPLES, batch_size, accumulate, 3, first, end, rank=rank, ranks=ranks)
    ]


@given(st.integers(1, 20), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_steps_run_through_one_permutation_per_epoch(count: int, batch_size: int, seed: int) -> None:
    steps = 3 * count // batch_size + 1
    order = torch.cat([examples_of_step(count, batch_size, seed, step) for step in range(steps)])
    assert len(order) == steps * batch_size
    for epoch in range(len(order) // count):
        assert sorted(order[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    first, second = examples_of_step(30, 30, 0, 0), examples_of_step(30, 30, 0, 1)
    assert first.tolist() != second.tolist()
    assert first.tolist() != examples_of_step(30, 30, 1, 0).tolist()


@pytest.mark.parametrize(("accumulate", "ranks"), [(1, 1), (4, 1), (1, 3), (2, 3)])
def test_all_ranks_and_accumulation_steps_see_one_batch_and_one_systematic_sample(accumulate: int, ranks: int) -> None:
    (whole,) = portions(24, 1, 1, 5, 6)
    parts = portions(24, accumulate, ranks, 5, 6)
    assert sorted(part.part for part in parts) == list(range(accumulate * ranks))
    assert sum(part.last for part in parts) == ranks
    pairs = sorted((x, u) for part in parts for x, u in zip(part.batch.x0[:, 0].tolist(), part.u.tolist(), strict=True))
    assert pairs == sorted(zip(whole.batch.x0[:, 0].tolist(), whole.u.tolist(), strict=True))
    u = torch.cat([part.u for part in parts]).sort().values
    torch.testing.assert_close(u.diff(), torch.full((23,), 1 / 24, dtype=torch.float64))


def test_each_part_covers_all_times_by_itself() -> None:
    for part in portions(24, 2, 2, 0, 1):
        gaps = part.u.sort().values.diff()
        torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 6))


def test_a_stream_can_start_anywhere() -> None:
    later, all_of_them = portions(7, 1, 1, 6, 9), portions(7, 1, 1, 0, 9)[6:]
    for ours, theirs in zip(later, all_of_them, strict=True):
        assert ours.step == theirs.step
        assert ours.batch.x0.equal(theirs.batch.x0)
        assert ours.u.equal(theirs.u)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size must be divisible .* got 10; change"):
        Stream(EXAMPLES, 10, 4, 0, 0, 1)
