"""With the ideal denoiser the reconstruction term is w(t) times the exact -log p(x0 at a position | all that is seen).

So its minimum is the ideal denoiser, as the bound's is; and for noise that forgets everything it is the bound itself.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scud import SCUD, Classical, Masking, Noisy
from scud.diffusion import Bound, Reconstruction
from scud.processes import Uniform
from scud.schedules import Linear, MutualInformation
from scud.typing import Batch
from tests.theory.cases import EVENT_PROCESSES, PROCESSES, SCHEDULES, make_process, make_schedule
from tests.theory.oracle import (
    IdealEvents,
    IdealTime,
    average_marginal,
    forward_law,
    others,
    powers,
    random_joint,
    states,
)


def posterior(joint: Tensor, likelihood: Tensor, clean: Tensor) -> Tensor:
    """-log p(x0_d | seen) at the clean states [n, D], by enumeration: likelihood [n, D, B]."""
    law = forward_law(joint, likelihood).reshape(-1, *joint.shape)
    law = law / law.flatten(1).sum(1).reshape(-1, *[1] * joint.ndim)
    each = [law.sum([a + 1 for a in range(joint.ndim) if a != d]) for d in range(joint.ndim)]
    return -torch.stack(
        [p.gather(1, clean[:, d, None]).squeeze(1) for d, p in enumerate(each)], 1
    ).log()


def everything(num_states: int) -> tuple[Tensor, Tensor]:
    """All pairs of clean and noised states of two positions: each [B^4, 2]."""
    x = states(num_states, 2)
    return x.repeat_interleave(len(x), 0), x.repeat(len(x), 1)


@pytest.mark.parametrize("schedule_name", SCHEDULES)
@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("process_name", EVENT_PROCESSES)
def test_scud(process_name: str, gamma: float, schedule_name: str) -> None:
    process, joint = make_process(process_name, 4), random_joint(4, 2, seed=3)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, gamma)
    model = SCUD(process, schedule, gamma, p0=p0)
    ideal = IdealEvents(joint, powers(torch.eye(4) + process.generator() / process.rate(gamma), 6))
    clean, seen = everything(4)
    even = MutualInformation(process, p0, gamma)
    for s in (torch.tensor([1, 4]), torch.tensor([2, 0]), torch.tensor([6, 3])):
        s = s.expand(seen.shape)
        likelihood = ideal.likelihood(seen, s)
        possible = (likelihood.gather(2, clean.unsqueeze(2)).squeeze(2) > 1e-12).all(1)
        likelihood, x0, x_t, count = (
            likelihood[possible],
            clean[possible],
            seen[possible],
            s[possible],
        )
        t = torch.full((len(x0),), 0.4, dtype=torch.float64)
        logits = others(joint, likelihood).clamp_min(-700)
        values = model.reconstruction(logits, x0, Noisy(x_t, t, count))
        h = 1e-6
        lost = [
            even.inverse(schedule.tau(torch.tensor(0.4 + d, dtype=torch.float64)))
            for d in (-h, 0.0, h)
        ]
        weight = float((lost[2] - lost[0]) / (2 * h) / lost[1])
        expected = weight * posterior(joint, likelihood, x0) * (count > 0)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("process_name", PROCESSES)
def test_classical(process_name: str) -> None:
    process, joint = make_process(process_name, 4), random_joint(4, 2, seed=3)
    p0 = average_marginal(joint)
    schedule = MutualInformation(process, p0, 0.0)
    model = Classical(process, schedule, p0=p0)
    clean, seen = everything(4)
    t = torch.full((len(seen),), 0.35, dtype=torch.float64)
    likelihood = IdealTime(joint, process.generator(), schedule).likelihood(seen, t)
    values = model.reconstruction(others(joint, likelihood), clean, Noisy(seen, t))
    torch.testing.assert_close(
        values, posterior(joint, likelihood, clean) / 0.35, rtol=1e-6, atol=1e-9
    )


def test_noise_that_forgets_everything_makes_it_the_bound_of_masking() -> None:
    """At gamma = 1 - 1/B: position by position masking's integrand, for any prediction."""
    p0 = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    model, masking = SCUD(Uniform(4), Linear(), 0.75, p0=p0), Masking(4, p0=p0)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, 4, dtype=torch.float64, generator=generator)
    x0 = torch.randint(4, (50, 7), generator=generator)
    t = torch.rand(50, dtype=torch.float64, generator=generator) * 0.9 + 0.05
    noisy = model.noise(x0, t, generator)
    assert noisy.s is not None
    values = model.reconstruction(logits, x0, noisy)
    rate = 4 / 3 * model.schedule.tau(t)  # expected events: r = 1 / gamma
    weight = 4 / 3 * model.schedule.beta(t) / rate.expm1()
    entropy = F.cross_entropy(logits.reshape(-1, 4), x0.reshape(-1), reduction="none").reshape(
        50, 7
    )
    torch.testing.assert_close(
        values, weight.unsqueeze(1) * entropy * (noisy.s > 0), rtol=1e-5, atol=1e-9
    )
    assert masking.reconstruction(
        logits, x0, masking.noise(x0, t, torch.Generator().manual_seed(1))
    ).equal(masking.integrand(logits, x0, masking.noise(x0, t, torch.Generator().manual_seed(1))))


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_the_objective_has_the_elbos_diffusion_term_and_leaves_out_what_does_not_count(
    kind: str,
) -> None:
    p0, process = torch.full((4,), 0.25, dtype=torch.float64), Uniform(4)
    model = {
        "scud": SCUD(process, MutualInformation(process, p0, 0.8), 0.8, p0=p0),
        "classical": Classical(process, MutualInformation(process, p0, 0.0), p0=p0),
        "masking": Masking(4, p0=p0),
    }[kind]

    def denoiser(x_t: Tensor, _: object) -> Tensor:
        return torch.linspace(-1, 1, 4).expand(*x_t.shape, 4)

    x0, u = torch.arange(24).reshape(4, 6) % 4, torch.tensor([0.2, 0.5, 0.7, 0.9])
    mask, known = torch.arange(6).expand(4, 6) < 5, torch.arange(6).expand(4, 6) == 1

    def draw(x: Tensor) -> tuple[Tensor, ...]:
        batch = Batch(x, mask, known=known)
        terms = [
            model.objective(
                denoiser, batch, objective, u=u, generator=torch.Generator().manual_seed(3)
            )
            for objective in (Bound(), Reconstruction(share=0.25), Reconstruction())
        ]
        elbo = model.elbo(denoiser, batch, u=u, generator=torch.Generator().manual_seed(3))
        return elbo.diffusion, *(term.diffusion for term in terms), *(term.loss for term in terms)

    first = draw(x0)
    bound, *_, plain, mixed, reconstruction = first
    for value in first[1:4]:
        torch.testing.assert_close(value, bound)
    torch.testing.assert_close(plain, bound)
    assert bool(torch.isfinite(reconstruction).all())
    torch.testing.assert_close(mixed, 0.75 * bound + 0.25 * reconstruction)
    changed = x0.clone()
    changed[:, 1], changed[:, 5] = (x0[:, 1] + 1) % 4, (x0[:, 5] + 1) % 4
    for ours, theirs in zip(draw(changed), first, strict=True):
        torch.testing.assert_close(ours, theirs)
