"""Sequences of many lengths: lengths as in training, each sequence drawn as if it were alone, whatever the batches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Conditioning, Diffusion, Masking
from scud.errors import UserError
from scud.processes import Uniform
from scud.samplers import Ancestral, draw, draw_lengths
from scud.schedules import MutualInformation

P0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def models() -> dict[str, Diffusion]:
    process = Uniform(3)
    return {
        "scud": SCUD(process, MutualInformation(process, P0, 0.9), 0.9, p0=P0),
        "classical": Classical(process, MutualInformation(process, P0, 0.0), p0=P0),
        "masking": Masking(3, p0=P0),
    }


def independent(x_t: Tensor, _: Conditioning) -> Tensor:
    """Positions are independent with law P0."""
    return P0.log().expand(*x_t.shape, 3)


def rows(lengths: Tensor) -> list[Tensor]:
    """Sequences of these lengths, of which nothing is known."""
    return [torch.zeros(length, dtype=torch.int64) for length in lengths.tolist()]


def test_lengths_follow_the_training_data() -> None:
    """Chi-squared at 1e-7 over 20,000 draws."""
    counts = torch.tensor([0, 0, 5, 0, 10, 35])
    drawn = draw_lengths(counts, 20_000, None, torch.Generator().manual_seed(0)).bincount(minlength=6)
    expected = 20_000 * counts / 50
    held = counts > 0
    assert int(drawn[~held].sum()) == 0
    statistic = float(((drawn - expected)[held] ** 2 / expected[held]).sum())
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


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_every_sequence_has_its_length_and_law(kind: str) -> None:
    """Chi-squared at 1e-7 over about 20,000 letters; batches are small, so that padding and grouping occur."""
    lengths = torch.randint(1, 40, (1000,), generator=torch.Generator().manual_seed(1))
    shares: list[float] = []
    generator = torch.Generator().manual_seed(2)
    drawn = draw(
        Ancestral(steps=6),
        models()[kind],
        independent,
        rows(lengths),
        positions=900,
        generator=generator,
        progress=shares.append,
    ).states
    assert [len(states) for states in drawn] == lengths.tolist()
    observed = torch.cat(drawn).bincount(minlength=3).double()
    expected = P0 * observed.sum()
    assert float(((observed - expected) ** 2 / expected).sum()) < chi2.isf(1e-7, 2)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_networks_are_told_what_is_padding() -> None:
    seen: list[Tensor] = []

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is not None
        seen.append(conditioning.mask)
        return independent(x_t, conditioning)

    generator = torch.Generator().manual_seed(0)
    draw(Ancestral(steps=2), models()["scud"], denoiser, rows(torch.tensor([3, 1, 2])), generator=generator)
    assert all(mask.sum(1).tolist() == [3, 2, 1] for mask in seen)
