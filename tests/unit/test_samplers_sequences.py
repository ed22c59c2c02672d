"""Sequences of many lengths: each is drawn as if it were alone, whatever the batches."""

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Conditioning, Diffusion, Masking
from scud.processes import Uniform
from scud.samplers import Ancestral, draw
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
    draw(
        Ancestral(steps=2),
        models()["scud"],
        denoiser,
        rows(torch.tensor([3, 1, 2])),
        generator=generator,
    )
    assert all(mask.sum(1).tolist() == [3, 2, 1] for mask in seen)
