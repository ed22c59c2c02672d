"""Where the three models meet, and the estimate of the bound against its exact expectation.

Statistical tests compare a mean with its exact value at 5.5 standard errors: a false alarm in 4e-8 of runs, seeds fixed.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.processes import Dense, Gaussian, Uniform
from scud.schedules import Linear, MutualInformation
from scud.typing import Conditioning, Denoiser
from tests.theory.cases import PROCESSES, make_process
from tests.theory.oracle import (
    IdealEvents,
    IdealMasking,
    IdealTime,
    average_marginal,
    entropy,
    gauss_legendre,
    poisson,
    powers,
    random_generator,
    random_joint,
    states,
)

ALARM = 5.5
DRAWS = 200_000


def draw(joint: Tensor, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    index = torch.multinomial(joint.flatten(), count, replacement=True, generator=generator)
    return states(joint.shape[0], joint.ndim)[index]


def bound(model: Diffusion, denoiser: Denoiser, x0: Tensor, seed: int) -> tuple[float, float]:
    """The mean bound over examples x0 and its standard error, from eight independent stratified estimates."""
    generator = torch.Generator().manual_seed(seed)
    totals = torch.stack([part_bound(model, denoiser, part, generator) for part in x0.chunk(8)])
    return float(totals.mean()), float(totals.flatten().std() / math.sqrt(totals.numel()))


def part_bound(
    model: Diffusion, denoiser: Denoiser, x0: Tensor, generator: torch.Generator
) -> Tensor:
    return model.elbo(denoiser, x0, generator=generator).total.double()


@pytest.mark.parametrize("num_states", [2, 5, 30])
def test_uniform_mutual_information_is_masking(num_states: int) -> None:
    p0 = (
        torch.rand(num_states, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        + 0.1
    )
    process, gamma = Uniform(num_states), 1 - 1 / num_states
    schedule = MutualInformation(process, p0 / p0.sum(), gamma)
    t = torch.linspace(0, 0.9999, 2001, dtype=torch.float64)
    torch.testing.assert_close(
        process.rate(gamma) * schedule.tau(t), -(-t).log1p(), rtol=0.0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "process_name"),
    [*itertools.product(("scud", "classical"), PROCESSES), ("masking", "uniform")],
)
def test_estimate_is_unbiased(kind: str, process_name: str) -> None:
    """`elbo`, with the ideal denoiser and t_max where all is forgotten, averages to H(x0)."""
    process = make_process(process_name, 3)
    joint = random_joint(3, 2, seed=9)
    p0 = average_marginal(joint)
    model: Diffusion
    ideal: Denoiser
    if kind == "scud":
        schedule = MutualInformation(process, p0, 0.7)
        model = SCUD(process, schedule, 0.7, p0=p0, t_max=1 - 1e-6)
        jump = torch.eye(3) + process.generator() / process.rate(0.7)
        ideal = IdealEvents(joint, powers(jump, 400))
    elif kind == "classical":
        model = Classical(process, Linear(), p0=p0, t_max=0.9999)
        ideal = IdealTime(joint, process.generator(), model.schedule)
    else:
        model, ideal = Masking(3, Linear(), p0=p0, t_max=1 - 1e-9), IdealMasking(joint)
    x0 = draw(joint, DRAWS if kind != "classical" else DRAWS // 10, seed=2)
    mean, error = bound(model, ideal, x0, seed=4)
    # Data are drawn too: compare with the mean of -log p(x0) over the same examples, which removes that noise.
    exact = -joint[tuple(x0.T)].log().mean()
    assert error < 0.05 * entropy(joint)
    assert abs(mean - float(exact)) < ALARM * error


def test_uniform_scud_is_masking() -> None:
    """SCUD, uniform at gamma = 1 - 1/B, equals masking in expectation for a denoiser that looks only at clean positions."""
    joint = random_joint(4, 2, seed=4)
    p0 = average_marginal(joint)
    process, gamma = Uniform(4), 0.75
    scud = SCUD(process, MutualInformation(process, p0, gamma), gamma, p0=p0, t_max=0.99)
    masking = Masking(4, Linear(), p0=p0, t_max=0.99)
    table = torch.randn(5, 5, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.s is not None
        seen = x_t.masked_fill(conditioning.s > 0, 4)
        return table[seen[:, 0], seen[:, 1]]

    x0 = draw(joint, DRAWS, seed=7)
    (first, error_1), (second, error_2) = (
        bound(scud, denoiser, x0, 8),
        bound(masking, denoiser, x0, 9),
    )
    assert abs(first - second) < ALARM * math.hypot(error_1, error_2)
    torch.testing.assert_close(scud.prior_nats, masking.prior_nats, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reversible", [pytest.param(True, marks=pytest.mark.long), False])
def test_small_gamma_tends_to_classical(reversible: bool) -> None:
    """With a fixed imperfect denoiser of x_t and t alone, the gap to the classical bound falls in proportion to gamma.

    Both expectations exactly, for one position: every x0, x_t and count, quadrature over t.
    """
    process = Dense(random_generator(4, seed=11, reversible=reversible))
    p0 = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    table = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(12))
    clean, seen = states(4, 2).unbind(1)
    v, weight = gauss_legendre(0.0, 1.0, 80)
    t, weight = 0.95 * v**2, 0.95 * 2 * v * weight

    def expected(
        model: SCUD | Classical, kernels: Tensor, time: Tensor, counts: Tensor | None
    ) -> Tensor:
        """Σ_{x0, x} p0 M[x0, x] h for kernels [n, B, B] at times [n] and counts [n]: -> [n]."""
        n = len(kernels)
        law = p0[clean] * kernels[:, clean, seen]
        when = time.repeat_interleave(16)
        logits = table[seen].repeat(n, 1) * (1 + when).unsqueeze(-1)
        s = None if counts is None else counts.repeat_interleave(16).unsqueeze(1)
        keep = law.flatten() > 0
        noisy = Noisy(seen.repeat(n)[keep, None], when[keep], None if s is None else s[keep])
        values = torch.zeros(n * 16, dtype=torch.float64)
        values[keep] = model.integrand(logits[keep, None], clean.repeat(n)[keep, None], noisy)[:, 0]
        return (law * values.reshape(n, 16)).sum(1)

    classical = Classical(process, Linear(), p0=p0, t_max=0.95)
    kernels = torch.linalg.matrix_exp(
        classical.schedule.tau(t)[:, None, None] * process.generator()
    )
    limit = weight @ expected(classical, kernels, t, None)
    gaps = []
    for gamma in (0.1, 0.05):
        model = SCUD(process, Linear(), gamma, p0=p0, t_max=0.95)
        most = int(12 + 2 * process.rate(gamma) * 3 + 40)
        counts = torch.arange(1, most + 1)
        stack = powers(torch.eye(4) + process.generator() / process.rate(gamma), most)[1:]
        chances = poisson(process.rate(gamma) * model.schedule.tau(t), most)[:, 1:]
        inner = torch.stack([expected(model, stack, time.expand(most), counts) for time in t])
        gaps.append(float(weight @ (chances * inner).sum(1) - limit))
    assert abs(gaps[0]) < 0.1 * float(limit)
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("bandwidth", [0.05, 0.3])
def test_prior_table_is_the_poisson_average(bandwidth: float) -> None:
    process = Gaussian(8, bandwidth)
    p0 = torch.arange(1, 9, dtype=torch.float64) / 36
    model = SCUD(process, Linear(), 1.0, p0=p0, t_max=0.9)
    mean = -math.log(1 - 0.9)
    table = powers(torch.eye(8) + process.generator(), 60)
    k = torch.arange(61, dtype=torch.float64)
    weight = (k * math.log(mean) - mean - (k + 1).lgamma()).exp()
    exact = weight @ (
        torch.xlogy(table, table) - torch.xlogy(table, (p0 @ table).unsqueeze(1))
    ).sum(-1)
    torch.testing.assert_close(model.prior_nats, exact, rtol=1e-9, atol=1e-10)
