"""Lengths of sequences to draw: those of training, within a range."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from scud.data.sequences.lengths import draw_lengths
from scud.errors import UserError


def test_lengths_follow_the_training_data() -> None:
    """Chi-squared at 1e-7 over 20,000 draws."""
    counts = torch.tensor([0, 0, 5, 0, 10, 35])
    drawn = draw_lengths(counts, 20_000, None, torch.Generator().manual_seed(0))
    observed = drawn.bincount(minlength=6)
    expected = 20_000 * counts / 50
    present = counts > 0
    assert int(observed[~present].sum()) == 0
    statistic = float(((observed - expected)[present] ** 2 / expected[present]).sum())
    assert statistic < chi2.isf(1e-7, 2)


@given(st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None)
def test_lengths_within_a_range(first: int, last: int) -> None:
    counts = torch.tensor([0, 0, 5, 0, 10, 35, 0, 0, 2, 1])
    if first > last:
        with pytest.raises(UserError, match=r"length must be a range within 1\.\.9"):
            draw_lengths(counts, 5, (first, last), None)
        return
    drawn = draw_lengths(counts, 50, (first, last), torch.Generator().manual_seed(0))
    assert first <= int(drawn.min())
    assert int(drawn.max()) <= last
    if int(counts[first : last + 1].sum()):
        assert bool((counts[drawn] > 0).all()), "only lengths that training has, where it has any"


def test_lengths_beyond_training_and_no_sequences() -> None:
    with pytest.raises(UserError, match="trained on lengths up to 5"):
        draw_lengths(torch.tensor([0, 0, 5, 0, 10, 35]), 5, (3, 6), None)
    with pytest.raises(UserError, match="num must be at least 1"):
        draw_lengths(torch.tensor([0, 1]), 0, None, None)
