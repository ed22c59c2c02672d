"""Generators: what is computed from them, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.errors import UserError
from scud.processes import Dense, Gaussian, Process, Uniform
from scud.processes.kernels.operator import DenseOperator
from scud.processes.kernels.powers import PowersKernel
from scud.processes.kernels.spectral import SpectralKernel
from tests.theory.oracle import random_generator


def good() -> torch.Tensor:
    return random_generator(4, seed=3, reversible=False)


def broken(row: int, column: int, value: float) -> torch.Tensor:
    Q = good()
    Q[row, column] = value
    return Q


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (torch.zeros(3, 4), "square"),
        (torch.zeros(1, 1), "at least 2 states"),
        (broken(0, 1, float("nan")), "finite"),
        (broken(1, 2, -0.3), r"off-diagonal rates >= 0.* at \[1, 2\]"),
        (broken(2, 2, 5.0), r"rows that sum to 0.* in row 2"),
        (torch.zeros(3, 3), "some rate"),
        (
            torch.block_diag(*[torch.tensor([[-1.0, 1.0], [1.0, -1.0]])] * 2),
            "one recurrent class, got 2 classes",
        ),
    ],
)
def test_bad_generators_are_refused(generator: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Dense(generator)


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.01, float("nan")])
def test_gamma_outside_its_interval(gamma: float) -> None:
    with pytest.raises(UserError, match="gamma must lie in"):
        Uniform(4).events(gamma)


def cycle(size: int) -> torch.Tensor:
    shift = torch.roll(torch.eye(size), 1, 1)
    return shift - torch.eye(size)


@pytest.mark.parametrize(
    "process",
    [Uniform(2), Dense(cycle(3)), Dense(cycle(8)), Gaussian(16, bandwidth=0.005, normalized=True)],
)
def test_periodic_kernels_are_refused(process: Process) -> None:
    """At gamma = 1 these return to where they were; half of it forgets, and in time there is nothing to refuse."""
    with pytest.raises(UserError, match=r"lower gamma, for example to 0\.5"):
        process.events(1.0)
    far = process.events(0.5).matrices(torch.tensor([1e5], dtype=torch.float64))[0]
    torch.testing.assert_close(far, process.stationary.expand_as(far), rtol=1e-6, atol=1e-9)
    process.time()


@pytest.mark.parametrize(
    ("num_states", "bandwidth"), [(1, 0.1), (4, 0.0), (4, -1.0), (4, float("inf")), (4, 1e-170)]
)
def test_bad_gaussians_are_refused(num_states: int, bandwidth: float) -> None:
    with pytest.raises(UserError, match="must be"):
        Gaussian(num_states, bandwidth)


@settings(max_examples=50, deadline=None)
@given(num_states=st.integers(2, 40), bandwidth=st.floats(0.02, 2.0), normalized=st.booleans())
def test_gaussian(num_states: int, bandwidth: float, normalized: bool) -> None:
    process = Gaussian(num_states, bandwidth, normalized)
    Q = process.generator()
    assert process.max_rate == pytest.approx(1.0)
    assert process.spectral
    ratio = Q[0, 1] / Q[0, -1] if num_states > 2 else None
    if ratio is not None and float(Q[0, -1]) > 1e-200:
        exponent = ((num_states - 1) ** 2 - 1) / (2 * (bandwidth * num_states) ** 2)
        assert float(ratio.log()) == pytest.approx(exponent, rel=1e-9)
    if normalized:
        torch.testing.assert_close(process.exit_rates, torch.ones(num_states, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(num_states=st.integers(2, 8), seed=st.integers(0, 10_000), reversible=st.booleans())
def test_stationary_law(num_states: int, seed: int, reversible: bool) -> None:
    process = Dense(random_generator(num_states, seed, reversible))
    torch.testing.assert_close(
        process.stationary @ process.generator(),
        torch.zeros(num_states).double(),
        rtol=0,
        atol=1e-12,
    )
    assert float(process.stationary.sum()) == pytest.approx(1.0, abs=1e-14)


def test_stationary_law_keeps_small_probabilities() -> None:
    """A birth-death chain whose law falls by 1e-3 per state: every entry to 1e-12 of itself."""
    up, down = 1e-3, 1.0
    Q = torch.zeros(8, 8, dtype=torch.float64)
    index = torch.arange(7)
    Q[index, index + 1], Q[index + 1, index] = up, down
    law = (up / down) ** torch.arange(8, dtype=torch.float64)
    torch.testing.assert_close(
        Dense(Q - Q.sum(1).diag()).stationary, law / law.sum(), rtol=1e-12, atol=0.0
    )


def test_the_algebra_fits_the_generator() -> None:
    assert isinstance(Gaussian(8).events(1.0), SpectralKernel)
    assert isinstance(Dense(random_generator(5, 1, reversible=True)).time(), SpectralKernel)
    assert isinstance(Dense(good()).events(0.5), PowersKernel)
    equal = torch.full((8,), 3.0, dtype=torch.float64)
    assert isinstance(Gaussian(8).events(1.0).operator(equal), DenseOperator)
