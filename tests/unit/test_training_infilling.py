"""Which positions training keeps clean: gaps of two kinds, of all sizes, in the share of examples asked for."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.training.infilling import draw_known, draw_span


def real_positions(seed: int, holes: bool) -> torch.Tensor:
    """[12, 40]: sequences of 1 to 40 positions, with unknown residues inside where `holes`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 41, (12, 1), generator=generator)
    real = torch.arange(40) < lengths
    if holes:
        real &= torch.rand(12, 40, generator=generator) < 0.8
        real[:, 0] = True
    return real


@given(st.integers(0, 2**31), st.booleans(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_spans(seed: int, holes: bool, share: float) -> None:
    real = real_positions(seed, holes)
    gap = draw_span(real, share, torch.Generator().manual_seed(seed))
    count = real.sum(1)
    assert not bool((gap & ~real).any())
    assert gap.sum(1).equal((share * count).ceil().clamp_min(1).long())
    for row, mask in zip(gap, real, strict=True):
        places = row[mask].nonzero().squeeze(1)
        assert places.tolist() == list(range(int(places[0]), int(places[-1]) + 1)), (
            "one run among real positions"
        )


@given(st.integers(0, 2**31), st.booleans(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_something_is_always_left_to_learn(seed: int, holes: bool, share: float) -> None:
    real = real_positions(seed, holes)
    known = draw_known(real, share, torch.Generator().manual_seed(seed))
    assert not bool((known & ~real).any())
    assert bool((real & ~known).any(1).all())
    if share == 0:
        assert not bool(known.any())


def test_shares_and_kinds() -> None:
    """Of 20,000 examples; tolerances are over six standard deviations."""
    real = torch.ones(20_000, 50, dtype=torch.bool)
    known = draw_known(real, 0.3, torch.Generator().manual_seed(1))
    touched = known.any(1)
    # A scattered gap may be the whole sequence, rarely.
    assert abs(float(touched.double().mean()) - 0.3) < 0.03
    gap = ~known[touched]
    edges = (gap[:, 1:] != gap[:, :-1]).sum(1)
    spans = edges <= 2
    assert 0.45 < float(spans.double().mean()) < 0.62
    assert abs(float(gap[spans].double().mean()) - 0.26) < 0.06
    places = gap[~spans].double().mean(0)
    assert float(places.max() - places.min()) < 0.1, "no place is preferred"


def test_every_place_is_in_a_span_sometimes() -> None:
    gap = draw_span(torch.ones(5_000, 10, dtype=torch.bool), 0.3, torch.Generator().manual_seed(2))
    starts = gap.double().argmax(1).bincount(minlength=10)
    assert starts[8:].sum() == 0
    assert int(starts[:8].min()) > 5_000 / 8 - 6 * 25
