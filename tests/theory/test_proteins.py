"""The theorems on proteins: twenty amino acids, BLOSUM62 noise, two dependent positions, and gaps in sequences."""

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.processes import Blosum62, Uniform
from scud.schedules import Linear, MutualInformation
from scud.typing import Batch
from tests.theory.cases import repeated, time_at
from tests.theory.oracle import (
    IdealEvents,
    IdealMasking,
    IdealTime,
    average_marginal,
    entropy,
    forward_law,
    others,
    powers,
    random_joint,
    states,
)
from tests.theory.test_ideal_denoiser import (
    TOLERANCE,
    event_table,
    joint_poisson,
    kl,
    prior_terms,
    quadrature,
)


def pairs() -> Tensor:
    """A law of two amino acids on 25 of the 400 pairs, [20, 20]."""
    generator = torch.Generator().manual_seed(11)
    joint = torch.zeros(400, dtype=torch.float64)
    weights = torch.rand(25, dtype=torch.float64, generator=generator) + 0.05
    joint[torch.randperm(400, generator=generator)[:25]] = weights / weights.sum()
    return joint.reshape(20, 20)


def training_marginal(joint: Tensor) -> Tensor:
    """p0 as training has it: never 0."""
    p0 = average_marginal(joint) + 1e-3
    return p0 / p0.sum()


@pytest.mark.parametrize(
    ("normalized", "gamma"),
    [
        repeated((normalized, gamma), long=normalized == (gamma < 1))
        for normalized in (True, False)
        for gamma in (1.0, 0.4)
    ],
)
def test_scud_is_tight_on_amino_acids(normalized: bool, gamma: float) -> None:
    process, joint = Blosum62(normalized=normalized), pairs()
    p0 = training_marginal(joint)
    schedule = MutualInformation(process, p0, gamma)
    model = SCUD(
        process, schedule, gamma, p0=p0, t_max=time_at(schedule, 0.3 / process.rate(gamma))
    )
    most = 7
    jump = torch.eye(20) + process.generator() / process.rate(gamma)
    gain, excess = event_table(model, IdealEvents(joint, powers(jump, most)), most)
    t, weight = quadrature(model.t_max)
    mean = process.rate(gamma) * schedule.tau(t)
    diffusion = weight * schedule.beta(t) / schedule.tau(t) @ (joint_poisson(mean, most, 2) @ gain)
    last = process.rate(gamma) * schedule.tau(torch.tensor([model.t_max], dtype=torch.float64))
    left = float(joint_poisson(last, most, 2)[0] @ excess)
    bound = float(diffusion) + prior_terms(joint, model.prior_nats)
    assert left > 0.1, "dependence is left at t_max, and seen"
    assert bound == pytest.approx(entropy(joint) + left, abs=TOLERANCE)


def test_classical_is_tight_on_amino_acids() -> None:
    process, joint = Blosum62(), pairs()
    p0 = training_marginal(joint)
    schedule = MutualInformation(process, p0, 0.0)
    model = Classical(process, schedule, p0=p0, t_max=time_at(schedule, 0.3))
    ideal = IdealTime(joint, process.generator(), schedule)
    t, weight = quadrature(model.t_max, nodes=64)  # to 1e-8
    x, total = states(20, 2), 0.0
    for times, weights in zip(t.split(16), weight.split(16), strict=True):
        seen, when = x.repeat(len(times), 1), times.repeat_interleave(len(x))
        likelihood = ideal.likelihood(seen, when)
        law = forward_law(joint, likelihood)
        logits = others(joint, likelihood)
        row, clean = (law > 1e-15).nonzero(as_tuple=True)
        values = model.integrand(logits[row], x[clean], Noisy(seen[row], when[row])).sum(1)
        total += float(weights.repeat_interleave(len(x))[row] * law[row, clean] @ values)
    end = torch.full((len(x),), model.t_max, dtype=torch.float64)
    marginal = forward_law(joint, ideal.likelihood(x, end)).sum(1)
    last = torch.linalg.matrix_exp(schedule.tau(end[:1])[0] * process.generator())
    left = float(kl(marginal, (p0 @ last)[x].prod(1)))
    assert total + prior_terms(joint, model.prior_nats) == pytest.approx(
        entropy(joint) + left, abs=TOLERANCE
    )


def three_positions() -> tuple[Tensor, dict[str, Diffusion], dict[str, object]]:
    """A law of three positions of four states, and models of it with their ideal denoisers."""
    joint = random_joint(4, 3, seed=2)
    p0, process = average_marginal(joint), Uniform(4)
    events = SCUD(process, Linear(), 0.8, p0=p0)
    time = Classical(process, Linear(), p0=p0)
    jump = torch.eye(4) + process.generator() / process.rate(0.8)
    models: dict[str, Diffusion] = {"scud": events, "classical": time, "masking": Masking(4, p0=p0)}
    ideal = {
        "scud": IdealEvents(joint, powers(jump, 60)),
        "classical": IdealTime(joint, process.generator(), time.schedule),
        "masking": IdealMasking(joint),
    }
    return joint, models, ideal


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_with_known_positions_the_bound_is_the_conditional_entropy(kind: str) -> None:
    """E bound = -E log p(x0 elsewhere | x0 known), one position being left: nothing dependent is left at t_max.

    5.5 standard errors: a false alarm in less than one of 10^7 runs.
    """
    joint, models, ideal = three_positions()
    model, count = models[kind], 240_000
    generator = torch.Generator().manual_seed(4)
    place = torch.multinomial(joint.flatten(), count, replacement=True, generator=generator)
    x0 = states(4, 3)[place]
    known = torch.tensor([True, False, True]).expand(count, 3)
    elbo = model.elbo(ideal[kind], Batch(x0, known=known), generator=generator)
    given = joint / joint.sum(1, keepdim=True)
    exact = -given.flatten()[place].log()
    difference = elbo.total - exact
    # What the prior costs at t_max = 0.999: it is p0 where the law given the neighbours is another.
    error = float(difference.std() / count**0.5)
    assert abs(float(difference.mean())) < 5.5 * error + 2e-3
    assert error < 0.02


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_what_stands_at_padding_does_not_count(kind: str) -> None:
    _, models, _ = three_positions()
    model = models[kind]

    def denoiser(x_t: Tensor, _: object) -> Tensor:
        return torch.linspace(-1, 1, 4).expand(*x_t.shape, 4)

    x0 = torch.tensor([[1, 2, 3], [1, 2, 0]])
    mask = torch.tensor([[True, True, False]] * 2)
    u = torch.tensor([0.6, 0.6])
    first, second = (
        model.elbo(denoiser, Batch(x, mask), generator=torch.Generator().manual_seed(1), u=u)
        for x in (x0, x0.flip(0))
    )
    torch.testing.assert_close(first.total, second.total)
    assert float(first.total.min()) > 0
