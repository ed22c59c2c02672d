"""Blosum62 is what Biopython's matrix and the background frequencies say, entry by entry."""

import numpy as np
import pytest
import torch
from Bio.Align import substitution_matrices

from scud.data.sequences.alphabets import ALPHABETS
from scud.errors import UserError
from scud.processes import Blosum62
from scud.processes.blosum import AMINO_ACIDS, PER_BIT, SWISSPROT


def background(seed: int) -> torch.Tensor:
    weights = (
        torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    )
    return weights / weights.sum()


@pytest.mark.parametrize("matrix", PER_BIT)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_rates_stationary_law_and_detailed_balance(
    matrix: str, normalized: bool, sharpness: float
) -> None:
    f = background(1)
    process = Blosum62(f, sharpness, normalized, matrix)
    scores = substitution_matrices.load(matrix)
    odds = np.array(
        [[2.0 ** (scores[a, b] / PER_BIT[matrix]) for b in AMINO_ACIDS] for a in AMINO_ACIDS]
    )
    law = (f.numpy() * odds) ** sharpness
    z = law.sum(1)
    conditional = law / z[:, None]
    leaves = (conditional * ~np.eye(20, dtype=bool)).sum(1)  # 1 - p(a | a) without cancellation
    pi = f.numpy() ** sharpness * z
    if normalized:
        pi = pi * leaves
        conditional = conditional / leaves[:, None]
    pi = pi / pi.sum()
    Q = process.generator().numpy()
    off = ~np.eye(20, dtype=bool)
    np.testing.assert_allclose(Q[off], conditional[off], rtol=1e-10)
    np.testing.assert_allclose(process.stationary.numpy(), pi, rtol=1e-10)
    flow = process.stationary.numpy()[:, None] * Q
    np.testing.assert_allclose(flow, flow.T, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(
        process.exit_rates.numpy(), 1.0 if normalized else leaves, rtol=1e-12
    )
    assert process.spectral


def test_defaults_are_the_papers() -> None:
    process = Blosum62()
    assert ALPHABETS["protein"].letters == AMINO_ACIDS
    assert sum(SWISSPROT) == pytest.approx(100, abs=0.2)
    torch.testing.assert_close(process.exit_rates, torch.ones(20, dtype=torch.float64))
    a, b = AMINO_ACIDS.index("W"), AMINO_ACIDS.index("Y")
    assert float(process.generator()[a, b]) == float(process.generator()[a].max()), (
        "W changes into Y most of all"
    )


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"matrix must be one of BLOSUM45.*got 'BLOSUM61'"):
        Blosum62(matrix="BLOSUM61")
    for sharpness in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="sharpness must be positive and finite"):
            Blosum62(sharpness=sharpness)
    for normalized in (True, False):
        with pytest.raises(
            UserError, match="sharpness must leave all letters some chance to change"
        ):
            Blosum62(sharpness=30.0, normalized=normalized)
    with pytest.raises(UserError, match="frequencies must have shape"):
        Blosum62(torch.ones(4) / 4)
    with pytest.raises(UserError, match="frequencies must sum to 1"):
        Blosum62(torch.ones(20))
