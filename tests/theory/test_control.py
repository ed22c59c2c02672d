"""The control variate of an estimate of the bound: its mean is 0 for every clean state on its own, whatever the model.

For a denoiser that knows p0 alone the diffusion term at a position is -log p0(x0) - prior(x0): of independent positions p0 is
the whole truth, so that their bound holds with equality, path by path.
"""

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.processes import Blosum62
from scud.typing import Batch, Conditioning
from tests.theory.cases import (
    GAMMAS,
    PROCESSES,
    SCHEDULES,
    make_gamma,
    make_process,
    make_schedule,
    time_at,
)
from tests.theory.oracle import poisson, powers, random_joint
from tests.theory.test_ideal_denoiser import TOLERANCE, quadrature

B, MOST = 4, 40
P0 = random_joint(B, 1, seed=6)


def check(model: Diffusion, total: Tensor) -> None:
    """The diffusion term of every clean state [B], by enumeration, against what it is claimed to be."""
    torch.testing.assert_close(total, -model.p0.log() - model.prior_nats, rtol=0, atol=TOLERANCE)


def terms(model: Diffusion, x_t: Tensor, t: Tensor, s: Tensor | None) -> Tensor:
    """h for every clean state and every row of x_t, t, s [n]: -> [B, n]."""
    clean = torch.arange(B).repeat_interleave(len(x_t)).unsqueeze(1)
    noisy = Noisy(*(None if part is None else part.repeat(B).unsqueeze(1) for part in (x_t, t, s)))
    noisy = Noisy(noisy.x_t, noisy.t.squeeze(1), noisy.s)
    return model.integrand(P0.log().expand(len(clean), 1, B), clean, noisy).reshape(B, -1)


@pytest.mark.parametrize("schedule_name", SCHEDULES)
@pytest.mark.parametrize("gamma_name", GAMMAS)
@pytest.mark.parametrize("process_name", PROCESSES)
def test_scud(process_name: str, gamma_name: str, schedule_name: str) -> None:
    process, gamma = make_process(process_name, B), make_gamma(gamma_name, B)
    schedule = make_schedule(schedule_name, process, P0, gamma)
    model = SCUD(
        process, schedule, gamma, p0=P0, t_max=time_at(schedule, 6.0 / process.rate(gamma))
    )
    table = powers(torch.eye(B) + process.generator() / process.rate(gamma), MOST)
    t, weight = quadrature(model.t_max)
    chance = poisson(process.rate(gamma) * schedule.tau(t), MOST)
    s, x_t = torch.arange(MOST + 1).repeat_interleave(B), torch.arange(B).repeat(MOST + 1)
    # h is beta / tau times what depends on s and the states alone: once at one time will do.
    once = torch.full((len(s),), model.t_max / 2, dtype=torch.float64)
    scale = schedule.beta(once[:1]) / schedule.tau(once[:1])
    law = table.permute(1, 0, 2).reshape(B, -1)  # [x0, (s, x_t)]
    given = law * torch.where(law > 1e-14, terms(model, x_t, once, s) / scale, 0.0)
    by_count = given.reshape(B, MOST + 1, B).sum(2)
    check(model, by_count @ chance.T @ (weight * schedule.beta(t) / schedule.tau(t)))


@pytest.mark.parametrize("schedule_name", SCHEDULES)
@pytest.mark.parametrize("process_name", PROCESSES)
def test_classical(process_name: str, schedule_name: str) -> None:
    process = make_process(process_name, B)
    schedule = make_schedule(schedule_name, process, P0, 0.0)
    model = Classical(process, schedule, p0=P0, t_max=time_at(schedule, 2.0 / process.max_rate))
    t, weight = quadrature(model.t_max)
    law = torch.linalg.matrix_exp(
        schedule.tau(t).reshape(-1, 1, 1) * process.generator()
    ).transpose(0, 1)
    h = terms(model, torch.arange(B).repeat(len(t)), t.repeat_interleave(B), None)
    check(model, (law * h.reshape(B, -1, B)).sum(2) @ weight)


@pytest.mark.parametrize("schedule_name", ["linear", "cosine"])
def test_masking(schedule_name: str) -> None:
    schedule = make_schedule(schedule_name, make_process("uniform", B), P0, 1.0)
    model = Masking(B, schedule, p0=P0, t_max=0.9)
    t, weight = quadrature(model.t_max)
    h = terms(model, torch.full_like(t, B).long(), t, torch.ones_like(t).long())
    check(model, (h * -(-schedule.tau(t)).expm1()) @ weight)


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_of_estimates_where_positions_are_padded_or_known(kind: str) -> None:
    """Means over 20,000 draws of each of four examples: 5.6 standard errors, a false alarm in one of 10^7 runs."""
    p0 = torch.linspace(1, 3, 20, dtype=torch.float64)
    p0, process = p0 / p0.sum(), Blosum62()
    models: dict[str, Diffusion] = {
        "scud": SCUD(process, make_schedule("mutual_information", process, p0, 1.0), p0=p0),
        "classical": Classical(
            process, make_schedule("mutual_information", process, p0, 0.0), p0=p0
        ),
        "masking": Masking(20, p0=p0),
    }

    def denoiser(x_t: Tensor, _: Conditioning) -> Tensor:
        return torch.linspace(-2, 2, 20).expand(*x_t.shape, 20)

    draws, generator = 20_000, torch.Generator().manual_seed(0)
    x0 = torch.tensor(
        [[0, 5, 19, 3], [4, 4, 4, 17], [18, 7, 1, 2], [9, 12, 6, 6]]
    ).repeat_interleave(draws, 0)
    mask = (
        torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]])
        .bool()
        .repeat_interleave(draws, 0)
    )
    known = torch.tensor([False, True, False, False]).expand(len(x0), 4)
    batch, u = Batch(x0, mask, known=known), torch.rand(len(x0), generator=generator)
    elbo = models[kind].elbo(denoiser, batch, generator=generator, u=u)
    control, diffusion = (
        part.double().reshape(4, draws) for part in (elbo.control, elbo.diffusion)
    )
    error = control.std(1) / draws**0.5
    assert float((control.mean(1) / error).abs().max()) < 5.6
    assert float(error.max()) < 0.15
    both = torch.stack([control[0], diffusion[0]])
    assert float(torch.corrcoef(both)[0, 1]) > 0.7
