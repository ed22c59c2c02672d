"""Batches as a function of (seed, step): epochs are permutations; ranks and accumulation steps share one batch."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from scud import Masking
from scud.data import Examples, SequenceSet
from scud.data.images.augment import mirror_half
from scud.data.order import Shuffled
from scud.errors import UserError
from scud.training.job import Job
from scud.training.options import ByExamples, ByPositions, ByRows, TrainingOptions
from scud.training.stream import Portion, Stream, order
from scud.typing import ExampleSet
from tests.unit.sequences import write_sequences

EXAMPLES = Examples(torch.arange(30, dtype=torch.uint8).reshape(30, 1), torch.arange(30))


MODEL = Masking(256, p0=torch.full((256,), 1 / 256, dtype=torch.float64))


def job(
    examples: ExampleSet,
    settings: TrainingOptions,
    augment: Callable[[Tensor, Generator], Tensor] | None,
) -> Job:
    return Job(MODEL, nn.Identity(), examples, examples, settings, seed=3, augment=augment)


def stream(
    examples: ExampleSet,
    settings: TrainingOptions,
    first: int = 0,
    ranks: int = 1,
    augment: Callable[[Tensor, Generator], Tensor] | None = None,
) -> list[Portion]:
    work = job(examples, settings, augment)
    return [part for rank in range(ranks) for part in Stream(work, first, rank=rank, ranks=ranks)]


def portions(batch_size: int, accumulate: int, ranks: int, first: int, end: int) -> list[Portion]:
    settings = ByExamples(batch_size=batch_size, accumulate=accumulate, steps=end)
    return stream(EXAMPLES, settings, first, ranks)


@given(st.integers(1, 20), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_steps_run_through_one_permutation_per_epoch(
    count: int, batch_size: int, seed: int
) -> None:
    steps = 3 * count // batch_size + 1
    order = torch.cat([Shuffled(count, batch_size, seed).examples(step) for step in range(steps)])
    assert len(order) == steps * batch_size
    for epoch in range(len(order) // count):
        assert sorted(order[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_epochs_and_seeds_differ() -> None:
    first, second = Shuffled(30, 30, 0).examples(0), Shuffled(30, 30, 0).examples(1)
    assert first.tolist() != second.tolist()
    assert first.tolist() != Shuffled(30, 30, 1).examples(0).tolist()


@pytest.mark.parametrize(("accumulate", "ranks"), [(1, 1), (4, 1), (1, 3), (2, 3)])
def test_all_ranks_and_accumulation_steps_see_one_batch_and_one_systematic_sample(
    accumulate: int, ranks: int
) -> None:
    (whole,) = portions(24, 1, 1, 5, 6)
    parts = portions(24, accumulate, ranks, 5, 6)
    assert sorted(part.part for part in parts) == list(range(accumulate * ranks))
    assert sum(part.last for part in parts) == ranks
    pairs = sorted(
        (x, u)
        for part in parts
        for x, u in zip(part.batch.x0[:, 0].tolist(), part.u.tolist(), strict=True)
    )
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
        order(job(EXAMPLES, ByExamples(batch_size=10, accumulate=4), None), 4)
    with pytest.raises(UserError, match=r"accumulation steps times devices \(6\), got 16; change"):
        order(job(EXAMPLES, ByExamples(batch_size=16, accumulate=2), None), 6)


def test_half_of_the_images_are_mirrored_and_nothing_else_changes() -> None:
    """Each is as it was or mirrored; over 400 the number mirrored is within 6 deviations of 200 (false alarm 2e-9)."""
    images = Examples(
        torch.randint(
            256, (40, 3, 2, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
    )
    plain = stream(images, ByExamples(batch_size=40, steps=10))
    flipped = stream(images, ByExamples(batch_size=40, steps=10), augment=mirror_half)
    mirrored = 0
    for ours, theirs in zip(flipped, plain, strict=True):
        same = (ours.batch.x0 == theirs.batch.x0).flatten(1).all(1)
        turned = (ours.batch.x0 == theirs.batch.x0.flip(-1)).flatten(1).all(1)
        assert bool((same ^ turned).all())
        assert ours.u.equal(theirs.u)
        mirrored += int(turned.sum())
    assert abs(mirrored - 200) < 60


def test_what_is_changed_at_random_is_the_same_wherever_training_started_and_on_any_ranks() -> None:
    images = Examples(
        torch.randint(
            256, (40, 3, 2, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
    )
    settings = ByExamples(batch_size=12, steps=8)
    whole = stream(images, settings, augment=mirror_half)
    for ours, theirs in zip(
        stream(images, settings, 5, augment=mirror_half), whole[5:], strict=True
    ):
        assert ours.batch.x0.equal(theirs.batch.x0)
    parts = stream(
        images, ByExamples(batch_size=12, steps=1, accumulate=2), ranks=2, augment=mirror_half
    )
    together = torch.empty_like(whole[0].batch.x0)
    for part in parts:
        together[part.part :: 4] = part.batch.x0
    assert together.equal(whole[0].batch.x0)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    """83 proteins of 5 to 60 residues."""
    return write_sequences(tmp_path_factory.mktemp("sequences"), 83, 5, 60)


@pytest.mark.parametrize(("accumulate", "ranks"), [(1, 1), (3, 1), (2, 2)])
def test_sequences_come_in_batches_of_like_length_within_the_budget(
    sequences: SequenceSet, accumulate: int, ranks: int
) -> None:
    settings = ByPositions(batch_tokens=400, accumulate=accumulate, steps=40)
    whole = stream(sequences, ByPositions(batch_tokens=400, steps=40))
    parts = stream(sequences, settings, ranks=ranks)
    assert all(part.batch.x0.numel() <= 400 for part in whole)
    assert all(len(part.batch.x0) >= 1 for part in parts)
    for step in range(40):
        mine = [part for part in parts if part.step == step]
        assert len(mine) == accumulate * ranks
        masks = [part.batch.mask for part in mine]
        counted = sum(int(mask.sum()) for mask in masks if mask is not None)
        # Dividing each part's nats by `positions` and averaging over parts gives nats per position of the whole batch.
        assert all(part.positions * len(mine) == counted for part in mine)
        u = torch.cat([part.u for part in mine]).sort().values
        torch.testing.assert_close(
            u.diff(), torch.full((len(u) - 1,), 1 / len(u), dtype=torch.float64)
        )


def test_a_stream_of_sequences_can_start_anywhere(sequences: SequenceSet) -> None:
    settings = ByPositions(batch_tokens=300, infill_share=0.5, steps=30)
    for ours, theirs in zip(
        stream(sequences, settings, 17), stream(sequences, settings)[17:], strict=True
    ):
        assert ours.batch.x0.equal(theirs.batch.x0)
        assert ours.u.equal(theirs.u)
        assert ours.batch.known is not None
        assert theirs.batch.known is not None
        assert ours.batch.known.equal(theirs.batch.known)


def test_known_positions_do_not_count(sequences: SequenceSet) -> None:
    for part in stream(sequences, ByPositions(batch_tokens=300, infill_share=1.0, steps=5)):
        assert part.batch.known is not None
        assert part.batch.mask is not None
        assert not bool((part.batch.known & ~part.batch.mask).any())
        counted = part.batch.mask & ~part.batch.known
        assert part.positions == int(counted.sum())
        assert part.batch.counted is not None
        assert part.batch.counted.equal(counted)


def test_rows_of_one_length_keep_parts_clean_too() -> None:
    rows = Examples(torch.arange(120, dtype=torch.uint8).reshape(10, 12))
    assert all(part.batch.known is None for part in stream(rows, ByRows(batch_size=5, steps=3)))
    for part in stream(rows, ByRows(batch_size=5, steps=3, infill_share=1.0)):
        assert part.batch.known is not None
        assert part.positions == int((~part.batch.known).sum()) < 60
