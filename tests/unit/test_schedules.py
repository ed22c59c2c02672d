"""Schedules: ends, exact derivatives, inverses, on all of [0, t_max]; information falls linearly on its own schedule."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.errors import UserError
from scud.processes import Dense, Gaussian, Uniform
from scud.schedules import Cosine, Linear, MutualInformation, Schedule
from tests.theory.oracle import poisson, powers, random_generator


def p0_of(num_states: int) -> torch.Tensor:
    weight = torch.arange(1, num_states + 1, dtype=torch.float64)
    return weight / weight.sum()


SCHEDULES: dict[str, Schedule] = {
    "linear": Linear(),
    "cosine": Cosine(),
    "gaussian, events": MutualInformation(Gaussian(12, 0.1), p0_of(12), 1.0),
    "gaussian, time": MutualInformation(Gaussian(12, 0.1), p0_of(12), 0.0),
    "uniform, events": MutualInformation(Uniform(7), p0_of(7), 0.3),
    "non-reversible, events": MutualInformation(
        Dense(random_generator(6, 1, False)), p0_of(6), 0.8
    ),
    "non-reversible, time": MutualInformation(Dense(random_generator(6, 1, False)), p0_of(6), 0.0),
    "slow, events": MutualInformation(Gaussian(64, 0.02), p0_of(64), 1.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=40, deadline=None)
@given(t=st.floats(1e-6, 0.9999))
def test_derivative_and_inverse(name: str, t: float) -> None:
    schedule = SCHEDULES[name]
    time = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    tau = schedule.tau(time)
    (slope,) = torch.autograd.grad(tau, time)
    assert float(schedule.beta(time.detach())) == pytest.approx(float(slope), rel=1e-7)
    assert float(schedule.inverse(tau.detach())) == pytest.approx(t, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ends_and_order(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.cat([torch.zeros(1), torch.logspace(-12, -0.0001, 3000)]).double()
    tau = schedule.tau(t)
    assert float(tau[0]) == 0
    assert float(schedule.inverse(torch.zeros((), dtype=torch.float64))) == pytest.approx(
        0, abs=1e-15
    )
    assert bool((tau.diff() > 0).all())
    assert bool(torch.isfinite(schedule.beta(t)).all())
    assert bool((schedule.beta(t[1:]) > 0).all())


def test_information_falls_linearly_in_events() -> None:
    """I(t) by direct summation over counts with dense powers, against 1 - t."""
    process, p0 = Gaussian(12, 0.1), p0_of(12)
    t = torch.tensor([1e-4, 0.01, 0.2, 0.5, 0.9, 0.99], dtype=torch.float64)
    table = powers(torch.eye(12) + process.generator(), 400)
    information = (torch.xlogy(table, table) - torch.xlogy(table, (p0 @ table).unsqueeze(1))).sum(
        -1
    ) @ p0
    mean = SCHEDULES["gaussian, events"].tau(t) * process.rate(1.0)
    share = poisson(mean, 400) @ information / torch.special.entr(p0).sum()
    torch.testing.assert_close(share, 1 - t, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "process", [Gaussian(12, 0.1), Dense(random_generator(6, 1, False)), Uniform(5)]
)
def test_information_falls_linearly_in_time(process: Gaussian) -> None:
    p0 = p0_of(process.num_states)
    schedule = MutualInformation(process, p0, 0.0)
    t = torch.tensor([1e-4, 0.01, 0.2, 0.5, 0.9, 0.99], dtype=torch.float64)
    dense = torch.linalg.matrix_exp(schedule.tau(t)[:, None, None] * process.generator())
    information = (torch.xlogy(dense, dense) - torch.xlogy(dense, (p0 @ dense).unsqueeze(1))).sum(
        -1
    ) @ p0
    torch.testing.assert_close(
        information / torch.special.entr(p0).sum(), 1 - t, rtol=1e-5, atol=1e-6
    )


def test_divergences_are_never_negative() -> None:
    kernel = Gaussian(20, 0.1).events(1.0)
    assert (
        float(kernel.divergences(kernel.stationary, torch.tensor([1e5], dtype=torch.float64)).min())
        >= 0
    )


@pytest.mark.parametrize(
    ("p0", "gamma", "message"),
    [
        (p0_of(5), 1.0, r"p0 must have shape \[4\]"),
        (torch.tensor([0.5, 0.5, 0.0, 0.0]), 1.0, "p0 must be positive"),
        (torch.ones(4), 1.0, "p0 must sum to 1"),
        (p0_of(4), 1.5, "gamma must lie in"),
        (p0_of(4), -0.5, "gamma must lie in"),
    ],
)
def test_bad_arguments(p0: torch.Tensor, gamma: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MutualInformation(Uniform(4), p0, gamma)


def test_times_that_are_changed_in_place_are_other_times() -> None:
    """The last answer is kept for the tensor that was asked about."""
    p0 = torch.full((4,), 0.25, dtype=torch.float64)
    schedule = MutualInformation(Gaussian(4, 0.3), p0, 1.0)
    t = torch.tensor([0.2, 0.5], dtype=torch.float64)
    before = schedule.tau(t)
    assert schedule.tau(t) is before
    t.mul_(0.5)
    torch.testing.assert_close(schedule.tau(t), schedule.tau(t.clone()), rtol=0, atol=0)
    assert bool((schedule.tau(t) < before).all())
